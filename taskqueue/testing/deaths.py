"""Deaths: a worker in the test's own process dies before or after one of its commits.

Inside a transaction that is never committed, a savepoint stands for a transaction and its release for the commit; a
statement outside of any is a commit by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, LiteralString

from django.db import connection

from taskqueue.definitions import StepDefinition
from taskqueue.engine import sql as statements
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.outcomes import Outcome
from taskqueue.testing.workers import InProcessWorker

WRITES: Final = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|TRUNCATE)\b", re.IGNORECASE)
OWN_ROW: Final = 'UPDATE "taskqueue_worker"'
"""What a worker in a test says of itself; a real one has a heart for that."""


Called = tuple[str, str]
"""A step: its pipeline, and its key."""


class WorkerDied(BaseException):
    """The end of a simulated process. Nothing that is caught or cleaned up on its way reaches the database."""


@dataclass(frozen=True)
class Moment:
    """When a worker dies: right before one of its commits, or right after it."""

    commit: int
    after: bool

    def __str__(self) -> str:
        """For people."""
        return f"right {'after' if self.after else 'before'} commit {self.commit}"


@dataclass
class Fate:
    """Counts a worker's commits, and ends it at the moment that was chosen; without one it lives.

    Attributes:
        step: the step that it was in when it died; empty between steps.
    """

    moment: Moment | None = None
    doing: Callable[[], str] = str
    commits: int = 0
    dead: bool = False
    step: str = ""
    _depth: int = 0
    _outermost: str = ""
    _wrote: bool = False
    _fetch: Callable[..., Any] = field(default=statements.fetch, repr=False)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Within the block all statements of this thread are the worker's."""
        self._depth = len(connection.savepoint_ids)
        self._fetch, statements.fetch = statements.fetch, self._engine
        try:
            with connection.execute_wrapper(self._django):
                yield
        finally:
            statements.fetch = self._fetch

    def _engine(self, statement: LiteralString, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """A statement of the engine."""
        rows: list[tuple[Any, ...]] = self._run(statement, lambda: self._fetch(statement, parameters))
        return rows

    def _django(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        """A statement of Django's: the author's ORM calls, and the beginnings and ends of transactions."""
        if sql.startswith(("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")):
            return None if self.dead else self._savepoint(sql, lambda: execute(sql, params, many, context))
        return self._run(sql, lambda: execute(sql, params, many, context))

    def _savepoint(self, sql: str, do: Callable[[], Any]) -> Any:
        """A transaction's beginning or end, if it is no savepoint within one."""
        if len(connection.savepoint_ids) > self._depth:
            return do()
        wrote, self._wrote = self._wrote, False
        if sql.startswith("RELEASE") and wrote:
            self._commit(do)
            self._outermost = ""
            return None
        self._outermost = sql.removeprefix("SAVEPOINT ") if sql.startswith("SAVEPOINT") else ""
        return do()

    def _run(self, sql: str, do: Callable[[], Any]) -> Any:
        """Any other statement."""
        if self.dead:
            raise WorkerDied
        if sql.startswith(OWN_ROW) or not WRITES.search(sql):
            return do()
        if len(connection.savepoint_ids) > self._depth:
            self._wrote = True
            return do()
        return self._commit(do)

    def _commit(self, do: Callable[[], Any]) -> Any:
        """What becomes durable with this."""
        self.commits += 1
        if self.moment == Moment(self.commits, after=False):
            self._die(undo=self._outermost)
        done = do()
        if self.moment == Moment(self.commits, after=True):
            self._die()
        return done

    def _die(self, *, undo: str = "") -> None:
        """Undo what is not committed, as the server does when the connection is gone, and end."""
        self.dead, self.step = True, self.doing()
        if undo:
            connection.connection.execute(f"ROLLBACK TO SAVEPOINT {undo}")
        raise WorkerDied


@dataclass
class Watched(Activity):
    """A worker's activity, with a list of the steps that it has called.

    Attributes:
        calls: how often each step was called.
        atomic: which of them are atomic.
    """

    calls: Counter[Called] = field(default_factory=Counter)
    atomic: set[Called] = field(default_factory=set)

    def begin_step(self, step: str, definition: StepDefinition, *, failures: int) -> None:
        """Count it."""
        called = (self.doing.lease.pipeline if self.doing.lease else "", step)
        self.calls[called] += 1
        if definition.atomic:
            self.atomic.add(called)
        super().begin_step(step, definition, failures=failures)


class Crew:
    """A worker that dies at a moment, and the one that comes after it."""

    def __init__(self, moment: Moment | None, *, died: Callable[[], None]) -> None:
        """Register the first one.

        Args:
            moment: when it dies; None: never.
            died: called when it has, before anybody cleans up after it.
        """
        self.activity = Watched()
        self.fate = Fate(moment, lambda: self.activity.doing.step)
        self._died = died
        self._worker = InProcessWorker(activity=self.activity)

    def work(self, *, budget: timedelta = timedelta(seconds=60)) -> list[Outcome]:
        """Execute everything that is due, whoever of them is alive."""
        if self.fate.dead:
            return self._work_on(budget)
        try:
            with self.fate.watch():
                return self._worker.work(budget=budget)
        except WorkerDied:
            self._worker.die()
            self._died()
            recover(self._worker.worker, reason="its process was killed")
            self.activity.rest()
            self.activity.ahead.clear()
            self._worker = InProcessWorker(activity=self.activity)
            return self._work_on(budget)

    def _work_on(self, budget: timedelta) -> list[Outcome]:
        """The second one's work: also what a sweep has to do for the first, as often as there is something."""
        outcomes: list[Outcome] = []
        while done := self._worker.work(budget=budget):
            outcomes += done
        return outcomes

    def leave(self) -> None:
        """End the one that is alive."""
        self._worker.leave()
