"""The end of a parallel step, which is a task of its own: its result goes to its parent.

With a `limit=` it passes its slot on to the next one, in one statement with the claim. Others, and the last ones, end
under the lock of their parent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import transaction

from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease, to_lease
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.outcomes import Failed, Succeeded
from taskqueue.engine.tasks.completion import complete_parallel_step
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.limited_claims import admit_and_claim
from taskqueue.engine.worker.outcome_statements import statement_for


def settle_parallel_step(lease: Lease, outcome: Succeeded | Failed, claim_request: ClaimRequest | None) -> list[Lease]:
    """End a parallel step, give its result to its parent and claim the next tasks, in one commit."""
    if isinstance(outcome, Succeeded) and lease.parallel_limit is not None:
        leases = pass_slot(lease, outcome, claim_request)
        if leases is not None:
            return leases
    if claim_request is not None and claim_request.most == 0:
        claim_request = None
    if isinstance(outcome, Succeeded) and outcome.last_step is not None:
        # Before the end waits for the parent's lock: a step that was called is not to be called again after a crash.
        sql.fetch(sql.CHECKPOINT, {**outcome.last_step, **lease.fence})
        outcome = replace(outcome, last_step=None)
    return end_under_lock(lease, outcome, claim_request)


def pass_slot(lease: Lease, outcome: Succeeded, claim_request: ClaimRequest | None) -> list[Lease] | None:
    """End a parallel step, pass its slot on to the next one of its limit, and claim the next tasks.

    Returns:
        The claimed leases; None if nothing was written, because the lease is gone, no parallel step waits for the slot,
            or another transaction has one of the rows.
    """
    values = {
        **lease.fence,
        "parent": lease.parent,
        "result": outcome.result,
        "logs": (outcome.last_step or {}).get("logs"),
        "limit": settings().TASK_OUTPUT_MAX_BYTES,
    }
    if claim_request is not None and claim_request.continues:
        return pass_slot_and_continue(values, claim_request)
    if claim_request is None:
        if not sql.fetch(sql.PASS_PARALLEL_SLOT, values):
            return None
        notify_on_commit()
        return []
    rows = sql.fetch(sql.PASS_PARALLEL_SLOT_AND_CLAIM, {**values, **claim_request.parameters})
    *_columns, has_ended, is_queued, _limited = rows[0]
    if not has_ended:
        return None
    leases, limited = claim_request.to_leases(rows)
    if is_queued and is_for_others(leases, claim_request):
        notify_on_commit()
    return leases if limited is None else admit_and_claim(limited, claim_request)


def pass_slot_and_continue(values: dict[str, Any], claim_request: ClaimRequest) -> list[Lease] | None:
    """As `pass_slot`, but claim the next one of the limit before all other tasks. Without it, claim as requested."""
    ((*columns, has_ended),) = sql.fetch(sql.PASS_PARALLEL_SLOT_AND_CONTINUE, {**values, **claim_request.parameters})
    if not has_ended:
        return None
    if columns[0] is not None:
        return [to_lease(claim_request.worker, tuple(columns))]
    notify_on_commit()
    return claim(claim_request) if claim_request.most else []


def end_under_lock(lease: Lease, outcome: Succeeded | Failed, claim_request: ClaimRequest | None) -> list[Lease]:
    """End a parallel step under the lock of its parent, and queue the parent if that waited for it alone."""
    statement, values = statement_for(outcome)
    leases: list[Lease] = []
    limited = None
    with transaction.atomic():
        ended = sql.fetch(sql.end_parallel_step(statement), {**values, **lease.fence, "parent": lease.parent})
        is_queued = bool(ended) and complete_parallel_step(lease.task, lease.parent)
        if claim_request is not None:
            leases, limited = claim_request.to_leases(sql.fetch(sql.CLAIM, claim_request.parameters))
        if is_queued and is_for_others(leases, claim_request):
            notify_on_commit()
    if limited is not None and claim_request is not None:
        return admit_and_claim(limited, claim_request)
    return leases


def is_for_others(leases: list[Lease], claim_request: ClaimRequest | None) -> bool:
    """Whether other workers have to claim what was queued.

    A worker that takes one task for each one that it queues leaves nothing to other workers. The parent may be in
    another queue than its step, which this worker does not take.
    """
    takes_all = claim_request is None or claim_request.queues.takes_all
    return not leases or (not takes_all and bool(registry.step_queues()))
