"""Slots: the places that steps hold while they execute, in pipelines whose steps are limited."""

from __future__ import annotations

from django.db import Error, transaction

from taskqueue.engine import sql
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.notify import ring


def take(journal: Journal, key: str) -> bool | None:
    """Take a place for a step. False when there is none, None when the lease is gone."""
    lease = journal.lease
    values = {"pipeline": lease.pipeline, "concurrency_key": lease.concurrency_key, "key": key}
    try:
        with transaction.atomic():
            sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": lease.pipeline})
            # A statement after the one that waited for the lock: it sees what the last holder has taken.
            rows = sql.fetch(sql.TAKE_SLOT, {**values, **lease.fence})
    except Error as error:
        raise journal.lose(error, step=key) from error
    return rows[0][0] if rows else None


def free(journal: Journal, key: str) -> None:
    """Give a step's place back, and let those in who wait for one."""
    if journal.lost is not None:
        return
    journal.session.mend()
    lease = journal.lease
    try:
        waited = sql.fetch(
            sql.FREE_SLOT,
            {"task": lease.task, "lease": lease.number, "key": key, "pipeline": lease.pipeline},
        )
        if waited and grant(lease.pipeline):
            ring()
    except Error as error:
        raise journal.lose(error, step=key) from error


def grant(pipeline: str) -> int:
    """Give what is free to the tasks that have waited longest, and queue them; how many."""
    with transaction.atomic():
        sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": pipeline})
        return len(sql.fetch(sql.GRANT_SLOTS, {"pipeline": pipeline}))


def grant_all() -> int:
    """The same for every pipeline whose tasks wait, in case that a worker died before it told them."""
    return sum(grant(pipeline) for (pipeline,) in sql.fetch(sql.CROWDED, {}))
