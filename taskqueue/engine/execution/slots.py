"""Slots: a step of a pipeline with a step limit holds one while it executes."""

from __future__ import annotations

from django.db import Error, transaction

from taskqueue.engine import sql
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.notify import notify_now


def acquire(journal: Journal, key: str) -> bool | None:
    """Acquire a slot for a step. False when none is free, None when the lease is gone."""
    lease = journal.lease
    values = {"pipeline": lease.pipeline, "concurrency_key": lease.concurrency_key, "key": key}
    try:
        with transaction.atomic():
            sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": lease.pipeline})
            # A statement of its own after the one that waited for the lock: it sees what the last holder acquired.
            rows = sql.fetch(sql.TAKE_SLOT, {**values, **lease.fence})
    except Error as error:
        raise journal.lose(error, step=key) from error
    return rows[0][0] if rows else None


def release(journal: Journal, key: str) -> None:
    """Release a step's slot, and grant it to a task that waits for one."""
    if journal.lost is not None:
        return
    journal.session.mend()
    lease = journal.lease
    values = {"task": lease.task, "lease": lease.number, "key": key, "pipeline": lease.pipeline}
    try:
        has_waiting_tasks = sql.fetch(sql.FREE_SLOT, values)
        if has_waiting_tasks and grant(lease.pipeline):
            notify_now()
    except Error as error:
        raise journal.lose(error, step=key) from error


def grant(pipeline: str) -> int:
    """Grant free slots to the tasks that have waited longest, and queue these tasks. Returns how many."""
    with transaction.atomic():
        sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": pipeline})
        return len(sql.fetch(sql.GRANT_SLOTS, {"pipeline": pipeline}))


def grant_all() -> int:
    """Grant free slots in every pipeline with waiting tasks: a worker may die between release and grant."""
    return sum(grant(pipeline) for (pipeline,) in sql.fetch(sql.PIPELINES_WAITING_FOR_SLOTS, {}))
