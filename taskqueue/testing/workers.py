"""A worker in the test's own process and on its connection, so that it sees the test's transaction."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import uuid4

from django.db import connection
from django.db.models.functions import Now

from taskqueue.definitions import registry
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.runtime.claim_request import ClaimSlot
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.liveness import LOCK_SPACE
from taskqueue.engine.runtime.outcomes import Outcome, Release
from taskqueue.engine.runtime.taken_queues import taking
from taskqueue.engine.worker.heartbeat import running_version
from taskqueue.engine.worker.loop import run_until_idle
from taskqueue.models import Worker
from taskqueue.queues import TakenQueues


def work(*, budget: timedelta = timedelta(seconds=60)) -> list[Outcome]:
    """Execute every task that is due, as one worker would. Returns the outcome of each execution, in order.

    Timers that become due meanwhile, completion handlers and events are handled too.
    """
    with InProcessWorker() as worker:
        return work_until_idle(worker, budget)


def work_until_idle(worker: InProcessWorker, budget: timedelta) -> list[Outcome]:
    deadline = time.monotonic() + budget.total_seconds()
    outcomes: list[Outcome] = []
    while done := worker.work(budget=budget):
        outcomes += done
        # Tasks that were only released would be claimed and released again and again.
        if time.monotonic() >= deadline or all(isinstance(outcome, Release) for outcome in done):
            break
    return outcomes


@dataclass
class InProcessWorker:
    """A worker without a process or a heartbeat. Each instance is a worker of its own to the engine.

    Attributes:
        stopping: set it to make the worker release its task at the next step.
        kind: which pipelines it claims tasks of.
        slot: what its claims are counted in, for a process that reserves slots.
        row: its row. After `die()` it has no lock, and recovery finds it dead.
        queues: the queues that it takes, as `manage.py worker --queues` has them; empty for all.
        not_queues: the queues that it does not take, as `--not` has them.
        strict: whether all tasks of a queue come before those of the queues named after it, as with `--strict`.
    """

    stopping: bool = False
    kind: BodyKind = BodyKind.ANY
    activity: Activity = field(default_factory=Activity)
    queues: str = ""
    not_queues: str = ""
    strict: bool = False
    slot: ClaimSlot | None = None
    row: Worker = field(init=False)
    _taken: TakenQueues = field(init=False)
    _is_dead: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Create its row and take its lock on the test's connection."""
        self._taken = TakenQueues.of(self.queues, self.not_queues, is_strict=self.strict)
        self.row = Worker.objects.create(
            host=socket.gethostname(),
            pid=os.getpid(),
            cluster=f"in-process {uuid4()}",  # of its own: it has no process that other workers die with
            version=running_version(),
            pipelines=registry.names(),
            queues=self._taken.names,
            not_queues=self._taken.excluded,
        )
        self._lock("pg_advisory_lock")

    @property
    def worker(self) -> int:
        """Its row's id."""
        return self.row.pk

    def work(self, *, budget: timedelta = timedelta(seconds=60)) -> list[Outcome]:
        """Execute every task that is due. Returns the outcome of each execution, in order."""
        Worker.objects.filter(pk=self.row.pk).update(heartbeat_at=Now())
        outcomes: list[Outcome] = []
        with taking(self._taken):
            run_until_idle(
                self,
                budget=budget,
                stopping=lambda: self.stopping,
                on_execution=lambda _lease, outcome, _took: outcomes.append(outcome),
            )
        return outcomes

    def die(self) -> None:
        """Lose the lock, as a killed process does; the row stays."""
        self._lock("pg_advisory_unlock")
        self._is_dead = True

    def leave(self) -> None:
        self._lock("pg_advisory_unlock")
        Worker.objects.filter(pk=self.row.pk, ended_at=None).update(ended_at=Now(), end_reason="stopped")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the worker; after an error it dies instead, and the next worker recovers it."""
        if not self._is_dead:
            self.leave() if error is None else self.die()

    def _lock(self, function: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s, %s)", [LOCK_SPACE, self.row.pk])
