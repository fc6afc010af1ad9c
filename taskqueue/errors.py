"""Everything that taskqueue raises on purpose.

    TaskqueueError
    ├── DefinitionError         a pipeline or step that cannot work, found when it is imported
    ├── WrongPlace              a call that makes no sense where it was made
    ├── UnknownPipeline
    ├── InvalidPayload          ┐
    ├── InvalidOptions          ├ carry `errors`: one pointer and sentence each
    ├── Unstorable              ┘
    ├── TooLarge
    ├── TaskNotFound
    ├── UnknownStep
    ├── NotRetryable
    ├── NotCancellable
    ├── OutputChanged           a recorded output no longer fits the code
    ├── Drift                   record and code disagree, and the pipeline is strict
    ├── StepFailed              what a pipeline's body sees when a step's retries are used up
    └── StepTimedOut            raised inside a step when its time is over

    Permanent, RetryAfter       raised by authors inside steps: signals to the engine, not errors of it

The first line of each docstring is the title that the API shows; `code` is stable and is what programs compare.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, NamedTuple
from uuid import UUID


class Fault(NamedTuple):
    """One thing that is wrong with a value: where (a JSON pointer, RFC 6901) and what."""

    pointer: str
    detail: str


class TaskqueueError(Exception):
    """Something went wrong in taskqueue."""

    code: ClassVar[str] = "taskqueue-error"

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.title()
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")


class DefinitionError(TaskqueueError):
    """A pipeline or step is defined wrongly."""

    code = "bad-definition"

    def __init__(self, detail: str, *, hint: str) -> None:
        self.hint = hint
        super().__init__(f"{detail} {hint}")


class WrongPlace(TaskqueueError):
    """This call makes no sense where it was made."""

    code = "wrong-place"


class UnknownPipeline(TaskqueueError):
    """No pipeline has this name."""

    code = "unknown-pipeline"


class Faulty(TaskqueueError):
    """A value has faults."""

    code = "faulty"

    def __init__(self, detail: str, errors: list[Fault]) -> None:
        self.errors = errors
        super().__init__(detail)


class InvalidPayload(Faulty):
    """The payload does not fit the pipeline."""

    code = "invalid-payload"


class InvalidOptions(Faulty):
    """The options of the task are not valid."""

    code = "invalid-options"


class Unstorable(Faulty):
    """A value holds something that JSON or PostgreSQL cannot store."""

    code = "unstorable-value"


class TooLarge(TaskqueueError):
    """A value is larger than its limit."""

    code = "too-large"

    def __init__(self, what: str, *, size: int, limit: int, setting: str) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{what} is {size:,} bytes; the limit is {limit:,} (setting {setting}).")


class TaskNotFound(TaskqueueError):
    """No task has this id."""

    code = "task-not-found"

    def __init__(self, task_id: UUID) -> None:
        super().__init__(f"No task has the id {task_id}. Ended tasks may have been pruned.")


class UnknownStep(TaskqueueError):
    """The task has no step with this key."""

    code = "unknown-step"


class NotRetryable(TaskqueueError):
    """Only an ended task can be retried."""

    code = "task-not-retryable"


class NotCancellable(TaskqueueError):
    """Only a task that has not ended can be cancelled."""

    code = "task-not-cancellable"


class OutputChanged(TaskqueueError):
    """A recorded output no longer fits the step that made it."""

    code = "output-changed"


class Drift(TaskqueueError):
    """A task's record and the present code disagree.

    Never raised: a strict pipeline's body is stopped with it, and it is the type of the task's error.
    """

    code = "drift"


class StepFailed(TaskqueueError):
    """A step failed and its retries are used up.

    A pipeline's body may catch it to compensate; uncaught, it fails the task.
    """

    code = "step-failed"

    def __init__(self, step: str, error_type: str, message: str) -> None:
        self.step = step
        self.error_type = error_type
        self.message = message
        super().__init__(
            f"Step {step!r} failed: {error_type}: {message}" if message else f"Step {step!r} failed: {error_type}"
        )


class StepTimedOut(TaskqueueError, TimeoutError):
    """A step ran longer than its timeout allows."""

    code = "step-timed-out"

    def __init__(self, step: str, timeout: timedelta) -> None:
        super().__init__(f"Step {step!r} ran longer than its timeout of {timeout.total_seconds():g} s.")


class Permanent(Exception):
    """Raised in a step: trying again cannot help, so the step's retries are not used."""


class RetryAfter(Exception):
    """Raised in a step: this try failed, and the next one shall come after this delay instead of the policy's."""

    def __init__(self, delay: timedelta, reason: str = "") -> None:
        if not timedelta(0) <= delay <= timedelta(days=3650):
            raise ValueError("RetryAfter needs a delay from nothing to 3,650 days.")
        self.delay = delay
        super().__init__(reason or f"asked to be tried again after {delay.total_seconds():g} s")
