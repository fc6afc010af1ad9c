"""A worker in the test's own process and on its own connection, so that it sees the test's transaction."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self

from django.db import connection
from django.db.models.functions import Now

from taskqueue.definitions import registry
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.runtime.liveness import LOCK_SPACE
from taskqueue.engine.runtime.outcomes import Outcome, Release
from taskqueue.engine.worker.heartbeat import running_version
from taskqueue.engine.worker.loop import drain
from taskqueue.models import Worker


def work(*, budget: timedelta = timedelta(seconds=60)) -> list[Outcome]:
    """Execute everything that is due, as one worker would; how each execution ended, in order.

    What falls due on the way, an end that has to be told and an event that has to be routed are done too.
    """
    deadline = time.monotonic() + budget.total_seconds()
    outcomes: list[Outcome] = []
    with InProcessWorker() as worker:
        while done := worker.work(budget=budget):
            outcomes += done
            # What only went back would go on coming and going.
            if time.monotonic() >= deadline or all(isinstance(outcome, Release) for outcome in done):
                break
    return outcomes


@dataclass
class InProcessWorker:
    """A worker without a process or a heartbeat. Two of them are two workers to the engine.

    Attributes:
        stopping: set it, and the worker hands its task back at the next step.
        row: its row. Take its lock away with `die()`, and recovery finds it dead.
    """

    stopping: bool = False
    activity: Activity = field(default_factory=Activity)
    row: Worker = field(init=False)
    _is_dead: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Register it and take its lock on the test's connection."""
        self.row = Worker.objects.create(
            host=socket.gethostname(),
            pid=os.getpid(),
            cluster="in-process",
            version=running_version(),
            pipelines=registry.names(),
        )
        self._lock("pg_advisory_lock")

    @property
    def worker(self) -> int:
        """Its row's id."""
        return self.row.pk

    def work(self, *, budget: timedelta = timedelta(seconds=60)) -> list[Outcome]:
        """Execute everything that is due; how each execution ended, in order."""
        Worker.objects.filter(pk=self.row.pk).update(heartbeat_at=Now())
        outcomes: list[Outcome] = []
        drain(
            self,
            budget=budget,
            stopping=lambda: self.stopping,
            settled=lambda _lease, outcome, _took: outcomes.append(outcome),
        )
        return outcomes

    def die(self) -> None:
        """Lose the lock, as a killed process does; the row stays as it is."""
        self._lock("pg_advisory_unlock")
        self._is_dead = True

    def leave(self) -> None:
        """End it as a worker that stops does."""
        self._lock("pg_advisory_unlock")
        Worker.objects.filter(pk=self.row.pk, ended_at=None).update(ended_at=Now(), end_reason="stopped")

    def __enter__(self) -> Self:
        """It lives for the length of a with block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It leaves; one that died, or broke out of its work, is found dead by the next."""
        if not self._is_dead:
            self.leave() if error is None else self.die()

    def _lock(self, function: str) -> None:
        """Call one of PostgreSQL's lock functions for this worker."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s, %s)", [LOCK_SPACE, self.row.pk])
