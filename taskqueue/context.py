"""The current task: how the authoring functions reach the engine that runs their task."""

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
class Question:
    """A question that people may answer instead of the event that a wait is for.

    Attributes:
        text: the question.
        assignees: names of users, and `group:NAME` for groups.
        schema: the JSON schema of an answer, as JSON.
        model: where to import the answer's type, as `module:Qualname`; empty if it cannot be imported.
    """

    text: str
    assignees: tuple[str, ...]
    schema: str
    model: str


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """An event to wait for: its name, and the values that its data must have at some paths."""

    event: str
    match: Mapping[str, Any] = field(default_factory=dict)
    question: Question | None = None


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """A task to create for a body: a parallel step, or a child task of another pipeline."""

    pipeline: str
    payload: str
    """The arguments as JSON."""
    parallel_step: str = ""
    """The dotted path of the step; empty for a child."""
    step_queue: str = ""
    """The queue of a parallel step; empty for that of its pipeline."""
    limit: int | None = None
    """How many of its siblings may run at a time."""
    options: Any = None
    """For a child: the `engine.enqueue.options.Options` of the call."""


@dataclass(frozen=True, kw_only=True)
class Suspension:
    """Something that a body waits for, recorded under a key like a step."""

    kind: StepKind
    name: str
    explicit_key: str = ""
    input: str = "{}"
    """What it is shown with, as JSON."""
    delay: timedelta | None = None
    until: datetime | None = None
    """It ends by itself after the delay or at this time; never if both are None."""
    awaited: tuple[Awaited, ...] = ()
    child_spec: ChildSpec | None = None
    key: str = ""
    """Set by the engine."""


@dataclass(frozen=True)
class Resolution:
    """The outcome of a suspension."""

    key: str
    output: str | None
    """As JSON; None if it failed."""
    error: str | None = None
    """As JSON: type and message."""


class CurrentTask(Protocol):
    """What `current_task()` returns."""

    @property
    def id(self) -> UUID: ...

    @property
    def pipeline(self) -> str: ...

    @property
    def key(self) -> str:
        """The idempotency key, or empty."""

    @property
    def labels(self) -> dict[str, str]:
        """The labels from its caller."""

    @property
    def attempt(self) -> int:
        """The number of this attempt of the step, or of the body outside of steps; from 1."""

    @property
    def scheduled_for(self) -> datetime | None:
        """The scheduled time of the pipeline's `cron`; None if something else started the task."""

    @property
    def cancelled(self) -> bool:
        """Whether the task has been cancelled; up to about a second late. For long steps that stop early."""

    @property
    def logger(self) -> Logger:
        """A logger at level INFO; its lines are stored with the attempt, like those of other loggers."""

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress from 0 to 1, with a note. It costs no query: the next heartbeat writes it."""

    def write(self, text: str) -> None:
        """Send text to the callers that follow the task, such as the tokens of a language model. It costs no query.

        What is written within a tenth of a second arrives as one chunk. Only steps may write: the body runs again.

        Raises:
            InvalidContext: it was called outside of a step.
            TypeError: it is not a text.
        """


class RunningTask(CurrentTask, Protocol):
    """What the authoring functions call while a task runs; the engine implements it."""

    def call(self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a plain step, or return its recorded result."""

    def acall(
        self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        """Run a step from an async body, or return its recorded result. Plain steps run in the worker's own thread."""

    def emit(self, event: str, data: str) -> None:
        """Send an event with this JSON as data, once."""

    def suspend(self, suspensions: Sequence[Suspension]) -> list[Resolution]:
        """Return the outcomes in order when all are resolved; until then the task waits without a worker."""


@dataclass
class RequestContext:
    """The HTTP request that is being answered, for the logs."""

    id: str
    tasks: list[UUID] = field(default_factory=list)
    """The tasks that it has created or been given."""
    traceparent: str = ""
    """The caller's trace, by its header of this name."""


current_request: ContextVar[RequestContext | None] = ContextVar("taskqueue_current_request", default=None)
"""The request that this code answers, if `taskqueue.logs.RequestLog` is among the project's middleware."""


current: ContextVar[RunningTask | None] = ContextVar("taskqueue_current", default=None)
"""The task that this code runs in; None outside of tasks."""

current_step: ContextVar[str] = ContextVar("taskqueue_current_step", default="")
"""The key of the step that this code runs in; empty outside of steps."""

ShouldStop = Callable[[], bool]
"""Called between steps: whether the worker has to release its task."""
