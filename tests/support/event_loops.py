"""Run a test's async tasks on an event loop, as worker processes do, and its plain ones in the test's own thread."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from taskqueue.engine.async_worker.event_loop import EventLoop
from taskqueue.engine.async_worker.heartbeat import AsyncHeartbeat
from taskqueue.engine.async_worker.loop import AsyncWorker
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.claim_request import ClaimSlot
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Outcome
from taskqueue.engine.worker.heartbeat import loss_by
from taskqueue.testing.workers import InProcessWorker
from tests.support.waiting import eventually


class InProcessSession:
    """An in-process worker as the session of an event loop: without a heartbeat."""

    kind = BodyKind.ASYNC
    slot: ClaimSlot | None = None

    def __init__(self, worker: InProcessWorker) -> None:
        self.worker = worker.row.pk
        self.activity = Activity()
        self.claim_error = ""
        self.is_draining = False
        self.leases: dict[UUID, Lease] = {}

    def ensure_started(self) -> None: ...

    def stop(self, reason: str = "stopped") -> None: ...

    def begin(self, lease: Lease) -> Activity:
        activity = Activity()
        activity.set_unsettled(lease)
        return activity

    def end(self, activity: Activity) -> None: ...

    release_unknown = AsyncHeartbeat.release_unknown
    _knows = AsyncHeartbeat._knows

    def release_lost(self, lease: Lease, error: BaseException) -> None:
        recover(lease.worker, reason="lost", loss=loss_by(error, lease), only=lease)


def work_on_event_loop(plain_work: Callable[..., list[Outcome]]) -> Callable[..., list[Outcome]]:
    """A method for `InProcessWorker.work`, which executes async tasks on an event loop."""

    def work(worker: InProcessWorker, **options: Any) -> list[Outcome]:
        outcomes: list[Outcome] = []

        def note(_lease: Lease, outcome: Outcome, _duration: timedelta) -> None:
            outcomes.append(outcome)

        async_worker = AsyncWorker(
            InProcessSession(worker),
            EventLoop(),
            slots=10,
            threads=3,
            stopping=lambda: worker.stopping,
            on_execution=note,
        )
        async_worker.start()
        worker.kind = BodyKind.PLAIN
        try:
            outcomes += plain_work(worker, **options)
            async_worker.ring()
            eventually(lambda: async_worker.is_idle)
            return outcomes
        finally:
            async_worker.stop("stopped")

    return work
