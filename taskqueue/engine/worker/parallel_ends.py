"""The end of a parallel step, which is a task of its own: its result goes to its parent, under the parent's lock."""

from __future__ import annotations

from typing import Any, LiteralString

from django.db import transaction

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks.completion import complete_parallel_step
from taskqueue.engine.worker.limited_claims import admit_and_claim


def settle_parallel_step(
    lease: Lease, statement: LiteralString, values: dict[str, Any], claim_request: ClaimRequest | None
) -> list[Lease]:
    """End a parallel step, give its result to its parent and claim the next tasks, in one commit."""
    leases: list[Lease] = []
    limited = None
    with transaction.atomic():
        is_ended = bool(sql.fetch(sql.end_parallel_step(statement), {**values, "parent": lease.parent}))
        is_queued = is_ended and complete_parallel_step(lease.task, lease.parent)
        if claim_request is not None:
            leases, limited = claim_request.to_leases(sql.fetch(sql.CLAIM, claim_request.parameters))
        # A worker that takes one task for each one that it queues leaves nothing to other workers. The parent may be in
        # another queue than its step, which this worker does not take.
        takes_all = claim_request is None or claim_request.queues.takes_all
        if is_queued and (not leases or (not takes_all and registry.step_queues())):
            notify_on_commit()
    if limited is not None and claim_request is not None:
        return admit_and_claim(limited, claim_request)
    return leases
