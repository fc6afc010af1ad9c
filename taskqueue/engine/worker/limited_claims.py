"""Claims of limited pipelines: admit tasks to free slots under the lock of the limits, then claim."""

from __future__ import annotations

from typing import Any, LiteralString

from django.db import transaction

from taskqueue.engine import sql
from taskqueue.engine.execution.rate_limits import SHORT_WAIT
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import notify_on_commit


def claimed(rows: list[tuple[Any, ...]], claim_request: ClaimRequest) -> list[Lease]:
    """The leases that a claim returned; if a task of a limited pipeline comes first, those of its admission."""
    leases, limited = claim_request.to_leases(rows)
    return leases if limited is None else admit_and_claim(limited, claim_request)


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
    sql.fetch(sql.LOCK_FOR_ADMISSION, {"limited": limited})


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
    code = {"pipelines": [limited], "codes": [""]}
    values = {"limited": limited, **code, "most": claim_request.most, "brief": SHORT_WAIT, **ended}
    admitted = sql.fetch(sql.ADMIT, values)
    if admitted and not claim_request.queues.takes(admitted[0][1]):
        notify_on_commit()  # the pipeline was moved to a queue of other workers, or this thread is reserved for others
    return claim_request.to_leases(sql.fetch(sql.CLAIM, {**claim_request.parameters, "skipped": list(skipped)}))


def settle_limited(
    lease: Lease, statement: LiteralString, values: dict[str, Any], claim_request: ClaimRequest
) -> list[Lease]:
    """End a task of a limited pipeline and claim the next tasks. Another task is admitted only if none is ready.

    The end waits for no lock. If the worker dies before the admission, the slot is free, and the next claim uses it.
    """
    rows = sql.fetch(*end_and_claim(lease, statement, {**values, **claim_request.parameters}))
    leases, limited = claim_request.to_leases(rows, goes_on=True)
    if leases or limited not in (None, lease.pipeline):
        return leases or admit_and_claim(limited, claim_request)
    with transaction.atomic():
        lock_concurrency_limit(lease.pipeline)
        leases, limited = admit(lease.pipeline, claim_request, (lease.pipeline,), freed_key=lease.concurrency_key)
    return leases or admit_and_claim(limited, claim_request)


def end_and_claim(
    lease: Lease, statement: LiteralString, values: dict[str, Any]
) -> tuple[LiteralString, dict[str, Any]]:
    """The statement that ends a task and claims the next ones, and its parameters.

    A slot is passed on to one task. Further free slots are for idle workers, which would find none if this worker
    admitted several short tasks at once.
    """
    if not lease.passes_slot:
        return sql.with_freed_slot(statement), values
    passing = {"slot_of": lease.pipeline, "skipped": [lease.pipeline], "most": 1}
    return sql.with_passed_slot(statement), {**values, **passing}
