"""Claims of limited pipelines: admit tasks to free slots under the lock of the limits, then claim."""

from __future__ import annotations

from typing import Any, LiteralString

from django.db import transaction

from taskqueue.engine import sql
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import notify_on_commit


def admit_and_claim(limited: str | None, claim_request: ClaimRequest) -> list[Lease]:
    """Admit tasks of a limited pipeline and claim the next tasks; without any, go on with the next limited pipeline.

    Each pipeline has its own transaction: two processes that lock two limits in different orders would deadlock.
    """
    skipped: tuple[str, ...] = ()
    while limited is not None:
        skipped = (*skipped, limited)
        with transaction.atomic():
            lock_concurrency_limit(limited)
            leases, limited = admit(limited, claim_request, skipped)
        if leases:
            return leases
    return []


def lock_concurrency_limit(limited: str) -> None:
    """Lock a pipeline's limit, before any task: a transaction that has locked a task never waits for a limit."""
    sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": limited})


def admit(
    limited: str, claim_request: ClaimRequest, skipped: tuple[str, ...], *, freed_key: str | None = None
) -> tuple[list[Lease], str | None]:
    """Under the lock of a pipeline's limits: admit the tasks that they allow, and claim the next tasks.

    The statements come after the one that waited for the lock, so they see what the last holder has admitted.

    Args:
        limited: the pipeline.
        claim_request: the worker that claims.
        skipped: pipelines to admit no more tasks from, with this one.
        freed_key: the concurrency key of the task that has just ended; None when no end has freed a slot.

    Returns:
        The leases, and the next limited pipeline to admit from when there are none.
    """
    ended = {"freed_key": freed_key or "", "at_task_end": freed_key is not None}
    values = {"limited": limited, "pipelines": [limited], "codes": [""], "most": claim_request.most, **ended}
    admitted = sql.fetch(sql.ADMIT, values)
    if admitted and not claim_request.queues.takes(admitted[0][1]):
        notify_on_commit()  # the pipeline was moved to a queue of other workers, or this thread is reserved for others
    return claim_request.to_leases(sql.fetch(sql.CLAIM, {**claim_request.parameters, "skipped": list(skipped)}))


def settle_and_admit(
    lease: Lease, statement: LiteralString, values: dict[str, Any], claim_request: ClaimRequest
) -> list[Lease]:
    """Settle a task of a limited pipeline and admit the next one to its slot, in one commit.

    Two statements, so that the second one sees the free slot.
    """
    with transaction.atomic():
        lock_concurrency_limit(lease.pipeline)
        sql.fetch(sql.standalone(statement), values)
        leases, limited = admit(lease.pipeline, claim_request, (lease.pipeline,), freed_key=lease.concurrency_key)
    return leases or admit_and_claim(limited, claim_request)
