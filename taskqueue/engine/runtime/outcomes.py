"""The closed set of ways in which an execution can end.

Author code may raise anything; from here on only these travel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from taskqueue.context import Pause
from taskqueue.states import AttemptOutcome


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """What is known of a try that did not succeed."""

    key: str
    """The step's key; empty for the body itself."""
    name: str
    outcome: AttemptOutcome
    error_type: str
    message: str
    traceback: str
    elapsed: timedelta
    arguments: str | None = None
    """The step's arguments as JSON; None when they could not be written."""
    logs: str | None = None
    """What it logged, as JSON; None when it said nothing."""


@dataclass(frozen=True)
class Succeeded:
    """The body returned."""

    result: str
    code: str = field(default="", compare=False)
    """The fingerprint of the code that ran."""
    drift: str | None = field(default=None, compare=False)
    """Where the record and the code disagreed, as JSON."""


@dataclass(frozen=True)
class Failed:
    """The body let a StepFailed pass, or its own tries are used up."""

    step: str
    error_type: str
    message: str
    body: FailedAttempt | None = None
    code: str = field(default="", compare=False)
    drift: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class RetryLater:
    """A try failed and another one is due after a wait."""

    failed: FailedAttempt
    wait: timedelta


@dataclass(frozen=True)
class Release:
    """The worker is stopping, or has found that its lease is gone: the task goes back unless someone else holds it."""


@dataclass(frozen=True)
class Paused:
    """The body waits for times, events or other tasks; it goes on when none of them is open any more."""

    pauses: tuple[Pause, ...]
    output_bytes: int = 0
    """The sum of the task's outputs so far."""


@dataclass(frozen=True)
class Blocked:
    """A step has no turn yet: its rate gave it a later time, or there is no free place for it."""

    blocked_on: str
    """The name of the rate, or `STEP_LIMIT`."""
    keys: tuple[str, ...] = ()
    """The steps that were given a time, which their rows tell; none of them for a place, which comes when it comes."""
    rate_changed_at: datetime | None = None
    """When the rate was changed by a person, as the one who gave the time knew it."""
    is_new: bool = False
    """Whether the time was given just now."""
    wait: timedelta = timedelta(0)
    """At least so long, because a step beside it failed."""
    comes_at: float | None = field(default=None, compare=False)
    """When the given time comes, by this process's monotonic clock; None for a place."""

    def beside(self, other: Blocked) -> Blocked:
        """Both of two steps that ran beside each other: the task goes on for the one that has a time, if one has."""
        first, second = (self, other) if self.keys else (other, self)
        return replace(first, keys=first.keys + second.keys, wait=max(first.wait, second.wait))


STEP_LIMIT = "step limit"
"""What a task waits at whose step found no free place."""

Outcome = Succeeded | Failed | RetryLater | Release | Paused | Blocked


class Unwinding(BaseException):
    """The engine's own way out through author code, never an outcome of that code."""


class Suspended(Unwinding):
    """Unwinds a pipeline's body at a step. Not an Exception, so that the author's handlers do not swallow it."""

    def __init__(self, outcome: RetryLater | Release | Paused | Blocked | Failed) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class DatabaseLost(Unwinding):
    """The engine's own statement failed while author code was on the stack: not the author's error.

    Attributes:
        error: what the database, or the way to it, said.
        step: the key of the step that it hit; empty between steps.
    """

    def __init__(self, error: Exception, *, step: str = "") -> None:
        super().__init__(str(error))
        self.error = error
        self.step = step
