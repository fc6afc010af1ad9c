"""Everything that taskqueue raises on purpose.

    TaskqueueError
    ├── DefinitionError         a pipeline or step that cannot work, found when it is imported
    ├── InvalidContext              a call that makes no sense where it was made
    ├── UnknownPipeline
    ├── InvalidPayload          ┐
    ├── InvalidOptions          ├ carry `errors`: one pointer and sentence each
    ├── InvalidLimit            │
    ├── NotSerializable              ┘
    ├── TooLarge
    ├── KeyReused               an idempotency key that stands for another request
    ├── BatchRefused            several requests of which one or more cannot be met: holds the error of each
    ├── InvalidEvent            carries `errors` too
    ├── EventNotFound
    ├── InvalidEventData
    ├── TaskNotFound
    ├── UnknownStep
    ├── NotRetryable
    ├── NotCancellable
    ├── NotDelayed
    ├── AlreadyPaused
    ├── NotPaused
    ├── NotPermitted            a deed that the caller has no right to
    ├── InvalidToken            a token that does not exist, has expired or was revoked
    ├── UnfilteredOperation               a verb for many tasks that are all of them, or none
    ├── BulkOperationEnded
    ├── WorkerNotFound
    ├── NotDrainable
    ├── OutputChanged           a recorded output no longer fits the code
    ├── Drift                   record and code disagree, and the pipeline is strict
    ├── TransactionBroken       what an atomic step has written cannot be committed
    ├── InvalidResult           a step did its work, and what it returned was refused
    ├── StepFailed              what a pipeline's body sees when a step's retries are used up
    │   └── GatherFailed        several branches have ended, and some of them failed
    ├── TooManyParallelSteps         more than PARALLEL_STEPS_MAX in one gather or each
    ├── NestingTooDeep                 a child below DEPTH_MAX parents
    └── StepTimedOut            raised inside a step when its time is over

    Permanent, RetryAfter       raised by authors inside steps: signals to the engine, not errors of it

The first line of each docstring is the title that the API shows; `code` is stable and is what programs compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, NamedTuple
from uuid import UUID

from taskqueue.durations import Duration, duration_of


class FieldError(NamedTuple):
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


class InvalidContext(TaskqueueError):
    """This call makes no sense where it was made."""

    code = "invalid-context"


class UnknownPipeline(TaskqueueError):
    """No pipeline has this name."""

    code = "unknown-pipeline"


class InvalidValue(TaskqueueError):
    """A value has faults."""

    code = "invalid-value"

    def __init__(self, detail: str, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__(detail)


class InvalidPayload(InvalidValue):
    """The payload does not fit the pipeline."""

    code = "invalid-payload"


class InvalidOptions(InvalidValue):
    """The options of the task are not valid."""

    code = "invalid-options"


class InvalidLimit(InvalidValue):
    """A limit or a rate cannot be changed to this."""

    code = "invalid-limit"


class NotSerializable(InvalidValue):
    """A value holds something that JSON or PostgreSQL cannot store."""

    code = "not-serializable"


class TooLarge(TaskqueueError):
    """A value is larger than its limit."""

    code = "too-large"

    def __init__(self, what: str, *, size: int, limit: int, setting: str) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{what} is {size:,} bytes; the limit is {limit:,} (setting {setting}).")


class KeyReused(TaskqueueError):
    """The key stands for a request with other content."""

    code = "key-reused"

    def __init__(self, detail: str, *, task: UUID | None = None) -> None:
        self.task = task
        """The task that the key stands for, if it stands for one."""
        super().__init__(detail)


class BatchRefused(TaskqueueError):
    """Some tasks of a batch were refused, so none was made."""

    code = "batch-refused"

    def __init__(self, refusals: Sequence[tuple[int, TaskqueueError]], *, of: int) -> None:
        self.refusals = refusals
        """The place of each in the batch, and why it was refused."""
        place, first = refusals[0]
        refused = f"Of {of:,} tasks {len(refusals):,} were refused, so none was made."
        super().__init__(f"{refused} The first is at {place}: {first.detail}")


class TaskNotFound(TaskqueueError):
    """No task has this id."""

    code = "task-not-found"

    def __init__(self, task_id: UUID) -> None:
        super().__init__(f"No task has the id {task_id}. Ended tasks may have been pruned.")


class InvalidEvent(InvalidValue):
    """The event is not valid."""

    code = "invalid-event"


class EventNotFound(TaskqueueError):
    """No event has this id."""

    code = "event-not-found"

    def __init__(self, event_id: UUID) -> None:
        super().__init__(f"No event has the id {event_id}. Old events may have been pruned.")


class InvalidEventData(TaskqueueError):
    """The data of an event that was waited for does not fit its model."""

    code = "invalid-event-data"


class UnknownStep(TaskqueueError):
    """The task has no step with this key."""

    code = "unknown-step"


class NotRetryable(TaskqueueError):
    """Only an ended task can be retried."""

    code = "task-not-retryable"


class NotCancellable(TaskqueueError):
    """Only a task that has not ended can be cancelled."""

    code = "task-not-cancellable"


class NotDelayed(TaskqueueError):
    """Only a scheduled, retrying or sleeping task can be run now."""

    code = "task-not-delayed"


class AlreadyPaused(TaskqueueError):
    """The pipeline is paused already."""

    code = "pipeline-already-paused"


class NotPaused(TaskqueueError):
    """The pipeline is not paused."""

    code = "pipeline-not-paused"


class NotPermitted(TaskqueueError):
    """The caller has no right to do this with this pipeline."""

    code = "not-permitted"


class InvalidToken(TaskqueueError):
    """The token is not valid."""

    code = "invalid-token"


class UnfilteredOperation(TaskqueueError):
    """This cannot be done to these tasks together."""

    code = "unfiltered-operation"


class BulkOperationEnded(TaskqueueError):
    """The operation has ended already."""

    code = "bulk-operation-ended"


class WorkerNotFound(TaskqueueError):
    """No worker has this id."""

    code = "worker-not-found"

    def __init__(self, worker_id: int) -> None:
        super().__init__(f"There is no worker {worker_id}.")


class NotDrainable(TaskqueueError):
    """The worker cannot be drained or resumed now."""

    code = "worker-not-drainable"


class OutputChanged(TaskqueueError):
    """A recorded output no longer fits the step that made it."""

    code = "output-changed"


class Drift(TaskqueueError):
    """A task's record and the present code disagree.

    Never raised: a strict pipeline's body is stopped with it, and it is the type of the task's error.
    """

    code = "drift"


class TransactionBroken(TaskqueueError):
    """The transaction of an atomic step cannot be committed."""

    code = "transaction-broken"


class InvalidResult(TaskqueueError):
    """A step returned what does not fit its annotation."""

    code = "invalid-result"


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


class GatherFailed(StepFailed):
    """Some of the steps that ran beside each other failed.

    Raised when all of them have ended.
    """

    code = "gather-failed"

    def __init__(self, outcomes: Sequence[object]) -> None:
        self.outcomes = list(outcomes)
        """A result or a StepFailed for each, in order."""
        failed = [outcome for outcome in outcomes if isinstance(outcome, StepFailed)]
        first = failed[0]
        super().__init__(first.step, first.error_type, first.message)
        self.detail = f"{len(failed)} of {len(outcomes)} steps failed. The first: {first.detail}"
        self.args = (self.detail,)


class TooManyParallelSteps(TaskqueueError):
    """More steps beside each other than are allowed."""

    code = "too-many-parallel-steps"

    def __init__(self, number: int, limit: int) -> None:
        super().__init__(
            f"{number:,} steps beside each other are more than the limit of {limit:,} (setting PARALLEL_STEPS_MAX). "
            "Give each step several items."
        )


class NestingTooDeep(TaskqueueError):
    """A child has too many parents above it."""

    code = "nesting-too-deep"

    def __init__(self, pipeline: str, limit: int) -> None:
        super().__init__(
            f"A child task of {pipeline!r} would have more than {limit} parents above it (setting DEPTH_MAX). "
            "Does the pipeline call itself without an end?"
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

    def __init__(self, delay: Duration, reason: str = "", *, hold: bool = True) -> None:
        """Say when.

        Args:
            delay: how long the next try has to wait.
            reason: why, for people.
            hold: in a step with a rate, whether nobody else who uses the rate may pass before either.
        """
        delay = duration_of(delay, "The delay of RetryAfter")
        if not timedelta(0) <= delay <= timedelta(days=3650):
            raise ValueError("RetryAfter needs a delay from nothing to 3,650 days.")
        self.delay = delay
        self.hold = hold
        super().__init__(reason or f"asked to be tried again after {delay.total_seconds():g} s")
