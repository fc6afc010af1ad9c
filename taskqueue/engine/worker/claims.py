"""Claim tasks: a worker gets the lease of the next tasks in the queue."""

from __future__ import annotations

from taskqueue.engine import sql
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.worker.limited_claims import claimed


def claim(claim_request: ClaimRequest | None) -> list[Lease]:
    """Claim the next tasks of this process's pipelines; empty when none is ready, or there is no request."""
    if claim_request is None:
        return []
    return claimed(sql.fetch(sql.CLAIM, claim_request.parameters), claim_request)
