"""What the worker loop needs of a worker."""

from __future__ import annotations

from typing import Protocol

from taskqueue.engine.execution.activity import Activity
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
    def activity(self) -> Activity:
        """What it does now, for its heartbeat."""
        ...
