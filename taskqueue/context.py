"""Which task this code is running for, if any: the one thread between the author's calls and the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from logging import Logger
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from taskqueue.states import StepKind

if TYPE_CHECKING:
    from taskqueue.definitions import StepDefinition


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """An event that a body waits for: one of this name whose data has these values at these paths."""

    event: str
    match: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Offspring:
    """A task that a body has done for it: a step on any worker (a parallel step), or another pipeline (a child)."""

    pipeline: str
    payload: str
    """The arguments as JSON."""
    parallel_step: str = ""
    """The place of the step; empty for a child."""
    limit: int | None = None
    """Of its siblings so many at a time."""
    options: Any = None
    """Of a child: the `engine.enqueue.options.Options` that its caller gave."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Something that a body waits for, recorded under a key as a step is."""

    kind: StepKind
    name: str
    explicit_key: str = ""
    input: str = "{}"
    """What people see of it, as JSON."""
    delay: timedelta | None = None
    until: datetime | None = None
    """When it is over by itself: after so long, or at this time; never when both are None."""
    awaited: tuple[Awaited, ...] = ()
    offspring: Offspring | None = None
    key: str = ""
    """Given by the engine."""


@dataclass(frozen=True)
class Recorded:
    """What came of a pause."""

    key: str
    output: str | None
    """As JSON; None when it failed."""
    error: str | None = None
    """As JSON: type and message."""


class CurrentTask(Protocol):
    """What code that runs inside a task may know and say about it."""

    @property
    def id(self) -> UUID:
        """The task's id."""
        ...

    @property
    def pipeline(self) -> str:
        """The name of its pipeline."""
        ...

    @property
    def key(self) -> str:
        """Its idempotency key; empty when it has none."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """The labels that its caller gave it."""
        ...

    @property
    def attempt(self) -> int:
        """Which try this is of the step that calls, or of the body between steps; from 1."""
        ...

    @property
    def scheduled_for(self) -> datetime | None:
        """The tick of the pipeline's `cron` that it is for; None when something else started it."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled while this step runs; known within about a second. A long step may look."""
        ...

    @property
    def logger(self) -> Logger:
        """A logger that is heard from INFO on; what a step says to it is kept with its try, as with any other."""
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Report how far it is, as a number from 0 to 1, and in words. Costs nothing: the heartbeat writes it."""
        ...


class RunningTask(CurrentTask, Protocol):
    """What the authoring objects ask of the engine while a task runs."""

    def call(self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a plain step, or replay its result."""
        ...

    def acall(
        self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        """Run a step from an async body, a plain one in the worker's main thread; or replay its result."""
        ...

    def emit(self, event: str, data: str) -> None:
        """Send an event, once, whose data is this JSON."""
        ...

    def pause(self, pauses: Sequence[Pause]) -> list[Recorded]:
        """Tell what came of each, in order, once none of them is open; until then the task waits without a worker."""
        ...


current: ContextVar[RunningTask | None] = ContextVar("taskqueue_current", default=None)
"""The task whose body or step this code runs in; None everywhere else."""

current_step: ContextVar[str] = ContextVar("taskqueue_current_step", default="")
"""The key of the step that this code runs in; empty between steps and outside of tasks."""

Stopping = Callable[[], bool]
"""Asked between steps: shall this worker hand its task back?"""
