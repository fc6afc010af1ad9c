"""Simulated crashes: a worker in the test's own process dies before or after one of its commits.

Tests run inside a transaction that is never committed. So a savepoint counts as a transaction and its release as the
commit; a statement outside of savepoints is a commit by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, LiteralString
from unittest.mock import patch
from uuid import UUID

from django.db import connection

from taskqueue.definitions import StepDefinition
from taskqueue.engine import sql as statements
from taskqueue.engine.author_code import body_end
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.outcomes import Outcome
from taskqueue.testing.runs import outputs_of
from taskqueue.testing.workers import InProcessWorker, work_until_idle

WRITES: Final = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|TRUNCATE)\b", re.IGNORECASE)
OWN_ROW: Final = 'UPDATE "taskqueue_worker"'
"""Writes of a test's worker to its own row. A real worker makes them on the connection of its heartbeat."""


StepCall = tuple[str, str]
"""A pipeline's name and a step's key."""


class WorkerDied(BaseException):
    """The end of a simulated process. Code that catches it, or cleans up, cannot write to the database any more."""


@dataclass(frozen=True)
class CrashPoint:
    """When a worker crashes: right before one of its commits, or right after it."""

    commit: int
    after: bool

    def __str__(self) -> str:
        return f"right {'after' if self.after else 'before'} commit {self.commit}"


@dataclass
class CrashInjector:
    """Counts a worker's commits, and crashes it at a point; without a point it never crashes.

    Attributes:
        step: the step that it executed when it crashed; empty between steps.
    """

    point: CrashPoint | None = None
    current_step: Callable[[], str] = str
    commits: int = 0
    dead: bool = False
    step: str = ""
    _depth: int = 0
    _outermost: str = ""
    _wrote: bool = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Treat all statements of this thread within the block as the worker's."""
        self._depth = len(connection.savepoint_ids)
        fetch = statements.fetch

        def fetch_or_crash(statement: LiteralString, parameters: Mapping[str, Any]) -> Any:
            return self._run(statement, lambda: fetch(statement, parameters))

        with (
            patch.object(statements, "fetch", fetch_or_crash),
            # Each step is a commit of its own: a crash between a last step and the end shows what its body repeats.
            patch.object(body_end, "LARGEST", -1),
            connection.execute_wrapper(self._execute_django),
        ):
            yield

    def _execute_django(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        if sql.startswith(("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")):
            return None if self.dead else self._savepoint(sql, lambda: execute(sql, params, many, context))
        return self._run(sql, lambda: execute(sql, params, many, context))

    def _savepoint(self, sql: str, execute: Callable[[], Any]) -> Any:
        """The begin or end of a transaction, unless it is a savepoint within one."""
        if len(connection.savepoint_ids) > self._depth:
            return execute()
        wrote, self._wrote = self._wrote, False
        if sql.startswith("RELEASE") and wrote:
            self._commit(execute)
            self._outermost = ""
            return None
        self._outermost = sql.removeprefix("SAVEPOINT ") if sql.startswith("SAVEPOINT") else ""
        return execute()

    def _run(self, sql: str, execute: Callable[[], Any]) -> Any:
        if self.dead:
            raise WorkerDied
        if sql.startswith(OWN_ROW) or not WRITES.search(sql):
            return execute()
        if len(connection.savepoint_ids) > self._depth:
            self._wrote = True
            return execute()
        return self._commit(execute)

    def _commit(self, execute: Callable[[], Any]) -> Any:
        self.commits += 1
        if self.point == CrashPoint(self.commits, after=False):
            self._die(undo=self._outermost)
        result = execute()
        if self.point == CrashPoint(self.commits, after=True):
            self._die()
        return result

    def _die(self, *, undo: str = "") -> None:
        """Roll back the open transaction, as the server does when the connection is lost, and crash."""
        self.dead, self.step = True, self.current_step()
        if undo:
            connection.connection.execute(f"ROLLBACK TO SAVEPOINT {undo}")
        raise WorkerDied


@dataclass
class CountingActivity(Activity):
    """A worker's activity that counts the steps that it has called.

    Attributes:
        calls: how often each step was called.
        atomic: the atomic steps among them.
    """

    calls: Counter[StepCall] = field(default_factory=Counter)
    atomic: set[StepCall] = field(default_factory=set)

    def begin_step(self, step: str, definition: StepDefinition, *, failures: int) -> None:
        call = (self.current.lease.pipeline if self.current.lease else "", step)
        self.calls[call] += 1
        if definition.atomic:
            self.atomic.add(call)
        super().begin_step(step, definition, failures=failures)


class CrashingWorker:
    """A worker that crashes at a point, if one is given, and the worker that continues after it.

    Attributes:
        outputs_before: the outputs of this task's steps that were recorded when it crashed.
        calls_before: how often each step had been called when it crashed.
    """

    def __init__(self, point: CrashPoint | None, task: UUID) -> None:
        self.activity = CountingActivity()
        self.injector = CrashInjector(point, lambda: self.activity.current.step)
        self.outputs_before: dict[str, Any] = {}
        self.calls_before: Counter[StepCall] = Counter()
        self._task = task
        self._worker = InProcessWorker(activity=self.activity)

    def work(self, *, budget: timedelta = timedelta(seconds=60)) -> list[Outcome]:
        if self.injector.dead:
            return work_until_idle(self._worker, budget)
        try:
            with self.injector.watch():
                return self._worker.work(budget=budget)
        except WorkerDied:
            self._worker.die()
            self.outputs_before, self.calls_before = outputs_of(self._task), self.activity.calls.copy()
            recover(self._worker.worker, reason="its process was killed")
            self.activity.set_idle()
            self.activity.prefetched.clear()
            self.activity.held_ends.clear()
            self._worker = InProcessWorker(activity=self.activity)
            return work_until_idle(self._worker, budget)

    def leave(self) -> None:
        self._worker.leave()
