"""Claim single tasks."""

from __future__ import annotations

from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.worker.claims import claim


def take(worker: int) -> Lease:
    """Claim the next task; there must be one."""
    (lease,) = claim(ClaimRequest(worker))
    return lease
