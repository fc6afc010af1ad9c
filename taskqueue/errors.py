"""Every error that taskqueue raises on purpose.

    TaskqueueError
    ├── DefinitionError         a wrong definition of a pipeline or step, found at import
    ├── InvalidContext          a call that is not possible here, inside or outside of a task
    ├── InvalidValue            carries `errors`: a pointer and a sentence for each
    │   └── InvalidPayload, InvalidOptions, InvalidLimit, InvalidQueue, InvalidEvent, InvalidAnswer, NotSerializable
    ├── UnknownPipeline, UnknownStep, TaskNotFound, EventNotFound, WorkerNotFound, QuestionNotFound
    ├── KeyReused, BatchRefused
    ├── NotRetryable, NotCancellable, NotDelayed, NotChangeable, AlreadyPaused, NotPaused, NotDrainable
    ├── AlreadyAnswered, QuestionClosed, BulkOperationEnded, UnfilteredOperation, NotPermitted, InvalidToken
    ├── TooLarge, InvalidEventData, OutputChanged, Drift, TransactionBroken, InvalidResult
    ├── StepFailed              raised in a pipeline's body when a step has no retries left
    │   └── GatherFailed        several parallel steps have ended, and some of them failed
    └── TooManyParallelSteps, NestingTooDeep, StepTimedOut

    Permanent, RetryAfter       raised by authors inside steps to steer retries

The first line of a docstring is the `title` in the API. `code` is stable: programs compare it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, NamedTuple
from uuid import UUID

from taskqueue.durations import Duration, duration_of


class FieldError(NamedTuple):
    """One error in a value: a JSON pointer (RFC 6901) and a sentence."""

    pointer: str
    detail: str


class TaskqueueError(Exception):
    """An error of taskqueue."""

    code: ClassVar[str] = "taskqueue-error"

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.title()
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring, without the full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")


class DefinitionError(TaskqueueError):
    """A pipeline or step has a wrong definition."""

    code = "bad-definition"

    def __init__(self, detail: str, *, hint: str) -> None:
        self.hint = hint
        super().__init__(f"{detail} {hint}")


class InvalidContext(TaskqueueError):
    """This call is not possible here."""

    code = "invalid-context"


class UnknownPipeline(TaskqueueError):
    """No pipeline has this name."""

    code = "unknown-pipeline"


class InvalidValue(TaskqueueError):
    """A value is not valid."""

    code = "invalid-value"

    def __init__(self, detail: str, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__(detail)


class InvalidPayload(InvalidValue):
    """The payload is not valid for the pipeline."""

    code = "invalid-payload"


class InvalidOptions(InvalidValue):
    """The options of the task are not valid."""

    code = "invalid-options"


class InvalidLimit(InvalidValue):
    """A limit or rate is not valid."""

    code = "invalid-limit"


class InvalidQueue(InvalidValue):
    """A queue's name is not valid."""

    code = "invalid-queue"


class NotSerializable(InvalidValue):
    """A value has something that JSON or PostgreSQL cannot store."""

    code = "not-serializable"


class TooLarge(TaskqueueError):
    """A value is larger than its limit."""

    code = "too-large"

    def __init__(self, what: str, *, size: int, limit: int, setting: str) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{what} is {size:,} bytes; the limit is {limit:,} (setting {setting}).")


class KeyReused(TaskqueueError):
    """The key was used for a request with other content."""

    code = "key-reused"

    def __init__(self, detail: str, *, task: UUID | None = None) -> None:
        self.task = task
        """The task of the key, if there is one."""
        super().__init__(detail)


class BatchRefused(TaskqueueError):
    """Some tasks of a batch were refused, so none was created."""

    code = "batch-refused"

    def __init__(self, refusals: Sequence[tuple[int, TaskqueueError]], *, of: int) -> None:
        self.refusals = refusals
        """The index of each refused task in the batch, and its error."""
        index, first = refusals[0]
        refused = f"{len(refusals):,} of {of:,} tasks {'was' if len(refusals) == 1 else 'were'} refused"
        super().__init__(f"{refused}, so none was created. The first is at {index}: {first.detail}")


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
    """The data of an event does not match the model of the wait."""

    code = "invalid-event-data"


class QuestionNotFound(TaskqueueError):
    """The task has no such question."""

    code = "question-not-found"


class AlreadyAnswered(TaskqueueError):
    """The question is answered already."""

    code = "question-already-answered"


class QuestionClosed(TaskqueueError):
    """The question can no longer be answered."""

    code = "question-closed"


class InvalidAnswer(InvalidValue):
    """The answer is not valid for the question."""

    code = "invalid-answer"


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


class NotChangeable(TaskqueueError):
    """Only a task that has not ended can be changed, and its start only before it has started."""

    code = "task-not-changeable"


class AlreadyPaused(TaskqueueError):
    """The pipeline is paused already."""

    code = "pipeline-already-paused"


class NotPaused(TaskqueueError):
    """The pipeline is not paused."""

    code = "pipeline-not-paused"


class NotPermitted(TaskqueueError):
    """The caller has no permission for this on this pipeline."""

    code = "not-permitted"


class InvalidToken(TaskqueueError):
    """The token is not valid."""

    code = "invalid-token"


class UnfilteredOperation(TaskqueueError):
    """This operation needs a filter that matches some tasks."""

    code = "unfiltered-operation"


class BulkOperationEnded(TaskqueueError):
    """The bulk operation has ended already."""

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
    """A recorded output does not match the step's annotation any more."""

    code = "output-changed"


class Drift(TaskqueueError):
    """A task's recorded steps and the current code differ.

    Never raised: it is the error type of a task that a strict pipeline fails for drift.
    """

    code = "drift"


class TransactionBroken(TaskqueueError):
    """The transaction of an atomic step cannot be committed."""

    code = "transaction-broken"


class InvalidResult(TaskqueueError):
    """A step's result does not match its annotation."""

    code = "invalid-result"


class StepFailed(TaskqueueError):
    """A step failed and has no retries left.

    A pipeline's body can catch it to compensate; uncaught, it fails the task.
    """

    code = "step-failed"

    def __init__(self, step: str, error_type: str, message: str) -> None:
        self.step = step
        self.error_type = error_type
        self.message = message
        detail = f"Step {step!r} failed: {error_type}"
        super().__init__(f"{detail}: {message}" if message else detail)


class GatherFailed(StepFailed):
    """Some of several parallel steps failed.

    Raised after all of them have ended.
    """

    code = "gather-failed"

    def __init__(self, outcomes: Sequence[object]) -> None:
        self.outcomes = list(outcomes)
        """A result or a StepFailed for each step, in order."""
        failed = [outcome for outcome in outcomes if isinstance(outcome, StepFailed)]
        first = failed[0]
        super().__init__(first.step, first.error_type, first.message)
        self.detail = f"{len(failed)} of {len(outcomes)} steps failed. The first: {first.detail}"
        self.args = (self.detail,)


class TooManyParallelSteps(TaskqueueError):
    """There are too many parallel steps."""

    code = "too-many-parallel-steps"

    def __init__(self, number: int, limit: int) -> None:
        super().__init__(
            f"{number:,} parallel steps are more than the limit of {limit:,} (setting PARALLEL_STEPS_MAX). "
            "Give each step several items."
        )


class NestingTooDeep(TaskqueueError):
    """A child task has too many ancestors."""

    code = "nesting-too-deep"

    def __init__(self, pipeline: str, limit: int) -> None:
        super().__init__(
            f"A child task of {pipeline!r} would have more than {limit} ancestors (setting DEPTH_MAX). "
            "Does the pipeline call itself without end?"
        )


class StepTimedOut(TaskqueueError, TimeoutError):
    """A step ran longer than its timeout."""

    code = "step-timed-out"

    def __init__(self, step: str, timeout: timedelta) -> None:
        super().__init__(f"Step {step!r} ran longer than its timeout of {timeout.total_seconds():g} s.")


class Permanent(Exception):
    """Raise it in a step that no retry can repair: the step fails without retries."""


class RetryAfter(Exception):
    """Raise it in a step to fail this attempt and set the delay before the next one."""

    def __init__(self, delay: Duration, reason: str = "", *, hold: bool = True) -> None:
        """Set the delay.

        Args:
            delay: a timedelta or seconds until the next attempt.
            reason: why, for people.
            hold: whether the delay blocks the step's rate for all its users.
        """
        delay = duration_of(delay, "The delay of RetryAfter")
        if not timedelta(0) <= delay <= timedelta(days=3650):
            raise ValueError("RetryAfter needs a delay between 0 and 3,650 days.")
        self.delay = delay
        self.hold = hold
        super().__init__(reason or f"retry after {delay.total_seconds():g} s")
