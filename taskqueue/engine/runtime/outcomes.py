"""The closed set of ways in which an execution ends: author code may raise anything, the engine passes only these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from taskqueue.context import Suspension
from taskqueue.states import AttemptOutcome


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """An attempt that did not succeed, as it is recorded."""

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
    """What it logged, as JSON; None when it logged nothing."""


@dataclass(frozen=True)
class Succeeded:
    """The body returned."""

    result: str
    code: str = field(default="", compare=False)
    """The fingerprint of the code that ran."""
    drift: str | None = field(default=None, compare=False)
    """Where the recorded steps and the code disagreed, as JSON."""
    last_step: Mapping[str, Any] | None = field(default=None, compare=False)
    """The checkpoint of the last step, if it is to be written with the end: the parameters of `sql.CHECKPOINT`."""


@dataclass(frozen=True)
class Failed:
    """The body did not catch a StepFailed, or its own attempts are used up."""

    step: str
    error_type: str
    message: str
    body: FailedAttempt | None = None
    code: str = field(default="", compare=False)
    drift: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class RetryLater:
    """An attempt failed, and the next one is due after a wait."""

    failed: FailedAttempt
    wait: timedelta


@dataclass(frozen=True)
class Release:
    """The worker stops, or its lease is gone: the task returns to the queue, unless another worker has it."""


@dataclass(frozen=True)
class Move:
    """The next step belongs to a queue that this worker does not take: the task is queued there, at its old position.

    Any other outcome of concurrent steps replaces it: the task moves when it comes to the step again.
    """

    queue: str
    """The step's queue; empty for the pipeline's."""
    wait: timedelta = timedelta(0)
    """How long the task waits before it can be claimed there."""


@dataclass(frozen=True)
class Waiting:
    """The body waits for times, events or other tasks, and continues when all of them are over."""

    pauses: tuple[Suspension, ...]
    output_bytes: int = 0
    """The sum of the task's outputs so far."""
    traceparent: str = field(default="", compare=False)
    """The trace that the tasks it waits for continue."""


@dataclass(frozen=True)
class Blocked:
    """A step has to wait: its rate limit gave it a later time, or no slot is free."""

    blocked_on: str
    """The name of the rate limit, or `STEP_LIMIT`."""
    keys: tuple[str, ...] = ()
    """The steps with a reserved time, which is in their rows; empty for steps that wait for a slot."""
    rate_changed_at: datetime | None = None
    """When the rate limit was last changed by a person, as of the reservation."""
    is_new: bool = False
    """Whether the time was reserved just now."""
    wait: timedelta = timedelta(0)
    """The least wait, because a concurrent step failed."""
    due_at: float | None = field(default=None, compare=False)
    """The reserved time, by this process's monotonic clock; None for a slot."""

    def merge(self, other: Blocked) -> Blocked:
        """The outcome for two concurrent steps: the task continues at the reserved time, if one of them has one."""
        first, second = (self, other) if self.keys else (other, self)
        return replace(first, keys=first.keys + second.keys, wait=max(first.wait, second.wait))


STEP_LIMIT = "step limit"
"""What blocks a task whose step found no free slot."""

EarlyOutcome = Failed | RetryLater | Release | Move | Waiting | Blocked
"""What an execution ends with before its body returns."""
Outcome = Succeeded | EarlyOutcome


class Unwinding(BaseException):
    """Base of the exceptions by which the engine leaves author code; never an error of that code."""


class Suspended(Unwinding):
    """Leaves a pipeline's body at a step. Not an Exception: `except Exception` in author code does not catch it."""

    def __init__(self, outcome: EarlyOutcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class DatabaseLost(Unwinding):
    """The engine's own statement failed while author code was on the stack: not the author's error.

    Attributes:
        error: the driver's error.
        step: the key of the step that ran; empty between steps.
    """

    def __init__(self, error: Exception, *, step: str = "") -> None:
        super().__init__(str(error))
        self.error = error
        self.step = step
