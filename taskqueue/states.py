"""The words for where a task, a step and a failed attempt stand, and which moves between them are legal."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TaskStatus(StrEnum):
    """Where a task stands: one column, read alike by the admin, the API and the metrics."""

    SCHEDULED = "scheduled"
    """Due at a later time that its caller chose."""
    QUEUED = "queued"
    """Ready: the next free worker whose code knows the pipeline takes it."""
    RUNNING = "running"
    """A worker holds the lease."""
    WAITING = "waiting"
    """Waits for something that is not a worker; holds none."""
    RETRYING = "retrying"
    """A try failed and the next one has a time."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """Where a recorded step stands."""

    WAITING = "waiting"
    """Begun and not over: a sleep, a wait, a branch, a child, or a step that was given a later time by its rate."""
    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    FAILED = "failed"


class StepKind(StrEnum):
    """What kind of step was recorded."""

    STEP = "step"
    PARALLEL = "parallel"
    """A step that runs beside others, on any worker."""
    CHILD = "child"
    """A pipeline that was called as a step."""
    SLEEP = "sleep"
    WAIT = "wait"
    """For an event, or for the first of several."""
    EMIT = "emit"


class WaitOutcome(StrEnum):
    """How a wait for an event ended; an open one has none."""

    EVENT = "event"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    """Another one of the same wait_any came first, or the task ended."""


class SkipKind(StrEnum):
    """Why a request made no new task."""

    DUPLICATE = "duplicate"
    """Its key stands for another task."""
    SINGLETON = "singleton"
    """Another task of the same singleton is under way."""
    DEBOUNCED = "debounced"
    """It replaced the payload of a task that waits for quiet."""
    BATCHED = "batched"
    """Its items were added to a task that gathers a batch."""
    MISFIRE = "misfire"
    """Ticks of the clock came too late."""
    PAUSED = "paused"
    """A tick of the clock came while the pipeline was paused."""
    INVALID = "invalid"
    """An event's data does not fit the pipeline's payload."""
    DEFERRED = "deferred"
    """The process that routed the event does not know the pipeline: the next one that does makes the task."""
    UNKNOWN = "unknown"
    """For days no process did."""
    NOT_PERMITTED = "not-permitted"
    """The pipeline's rights are for others than the sender of the event."""


class DriftKind(StrEnum):
    """In what a task's record and the code disagree."""

    VERSION = "version"
    """The code no longer has the body of the task's version."""
    ARGUMENTS = "arguments"
    """A recorded step is called with other arguments."""
    UNUSED = "unused"
    """The body ended without asking for a recorded step."""


class BulkOperationVerb(StrEnum):
    """What is done to many tasks at once."""

    RETRY = "retry"
    CANCEL = "cancel"
    RERUN = "rerun"
    RUN_NOW = "run-now"

    @property
    def words(self) -> str:
        """As people read it."""
        return self.value.replace("-", " ")


class BulkOperationStatus(StrEnum):
    """Where an operation stands."""

    PLANNED = "planned"
    """No worker has begun it yet."""
    RUNNING = "running"
    ABORTED = "aborted"
    """A person ended it between two batches."""
    DONE = "done"


class AttemptOutcome(StrEnum):
    """How a try that did not succeed ended."""

    FAILED = "failed"
    """The author's code raised, or returned something that does not fit."""
    TIMED_OUT = "timed_out"
    """The step's own timeout ended it."""
    LOST = "lost"
    """The worker died or fell silent in the middle of it."""
    STOPPED = "stopped"
    """Its task was cancelled, and its worker was ended when the grace was over."""


ENDED: Final = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED)
"""A task in one of these holds still until a person asks for more."""

TOLD_AS: Final = {TaskStatus.SUCCEEDED: "completed", TaskStatus.FAILED: "failed", TaskStatus.CANCELLED: "cancelled"}
"""What the name of the event that tells an end has behind that of the pipeline."""

ON_A_TIMER: Final = (TaskStatus.SCHEDULED, TaskStatus.WAITING, TaskStatus.RETRYING)
"""A task in one of these becomes queued when its time comes."""

LIVE: Final = tuple(status for status in TaskStatus if status not in ENDED)
"""Everything that still has something to do."""

MOVES: Final[dict[TaskStatus, frozenset[TaskStatus]]] = {
    TaskStatus.SCHEDULED: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED}),
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.WAITING, TaskStatus.CANCELLED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.QUEUED,
            TaskStatus.WAITING,
            TaskStatus.RETRYING,
            TaskStatus.SUCCEEDED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.WAITING: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED}),
    TaskStatus.RETRYING: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED}),
    TaskStatus.SUCCEEDED: frozenset({TaskStatus.QUEUED}),
    TaskStatus.FAILED: frozenset({TaskStatus.QUEUED}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.QUEUED}),
}
"""From each status, the ones that a task may move to; an ended task moves only when a person retries it.

The engine's statements make the moves. The database of the tests refuses every other one.
"""


PHASES: Final = ("queued", "blocked", "waiting", "backoff", "executing")
"""Where the time of a task goes: in the queue, held back by limits, asleep or waiting for something, between attempts,
and in the hands of a worker. Each is counted in seconds, in `Task`, in rollups and in metrics."""
