"""What the worker loop needs of a worker."""

from __future__ import annotations

from typing import Protocol

from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.runtime.claim_request import ClaimRequest, ClaimSlot
from taskqueue.engine.runtime.deployed_pipelines import BodyKind


class WorkerSession(Protocol):
    """What the loop needs of a worker: `heartbeat.Heartbeat`, or a fake in tests."""

    @property
    def worker(self) -> int:
        """The id of its row, which changes when it was presumed dead."""
        ...

    @property
    def kind(self) -> BodyKind:
        """Which pipelines it claims tasks of."""
        ...

    @property
    def slot(self) -> ClaimSlot | None:
        """What its claims are counted in; None when its process reserves no slots."""
        ...

    @property
    def activity(self) -> Activity:
        """What it does now, for its heartbeat."""
        ...


def next_request(session: WorkerSession, most: int) -> ClaimRequest | None:
    """The worker's next claim; None when the free threads of its process are all reserved for claims under way."""
    if session.slot is not None:
        return session.slot.request(session.worker, most, session.kind)
    return ClaimRequest(session.worker, most, session.kind)
