"""What the worker loop needs of a worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.runtime.claim_request import ClaimRequest, ClaimSlot
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.taken_queues import taken_queues


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


class ClaimPace:
    """How many tasks a worker claims at once: more while its tasks are short.

    Args:
        session: the worker.
        largest: the maximum; also how often the worker goes on with a limit of parallel steps before it claims other
            tasks in their order, as if it had claimed all of these at once.
    """

    def __init__(self, session: WorkerSession, largest: int) -> None:
        self.session, self.largest = session, largest
        self.most, self.continued = 1, 0

    def request_after(self, lease: Lease, *, is_short: bool) -> ClaimRequest | None:
        """The claim after the execution of a task; None while prefetched tasks are left.

        After a short parallel step of a limit the worker goes on with the limit, if it may.
        """
        activity = self.session.activity
        self.most = min(self.most * 2, self.largest) if is_short else 1
        request = None if activity.prefetched else next_request(self.session, self.most)
        is_continuing = is_short and lease.parallel_limit is not None and self.continued < self.largest
        if is_continuing and not activity.held_ends and may_continue(self.session):
            self.continued += 1
            return replace(request or ClaimRequest(self.session.worker, 0, self.session.kind), continues=True)
        if request is not None:
            self.continued = 0
        return request


def may_continue(session: WorkerSession) -> bool:
    """Not where it matters which queue a task is from: in strict order, or with reserved slots."""
    return session.slot is None and not taken_queues().is_strict
