"""The statuses of tasks and steps, the outcomes of attempts and waits, and the allowed transitions of tasks."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TaskStatus(StrEnum):
    """The status of a task: one column for admin, API and metrics."""

    SCHEDULED = "scheduled"
    """Due later, at a time that its caller set."""
    QUEUED = "queued"
    """Due now: the next free worker that has the pipeline claims it, unless a limit blocks it."""
    RUNNING = "running"
    """A worker has the lease."""
    WAITING = "waiting"
    """Waits for a time, an event, parallel steps, a child task or a rate, and occupies no worker."""
    RETRYING = "retrying"
    """An attempt failed, and the next one has a time."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """The status of a recorded step."""

    WAITING = "waiting"
    """Not finished: a sleep, a wait, a parallel step, a child task, or a step that its rate has delayed."""
    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    FAILED = "failed"


class StepKind(StrEnum):
    """The kind of a recorded step."""

    STEP = "step"
    PARALLEL = "parallel"
    """A parallel step, on any worker."""
    CHILD = "child"
    """A pipeline called inside a task: a child task."""
    SLEEP = "sleep"
    WAIT = "wait"
    """For an event, or the first of several."""
    EMIT = "emit"


class WaitOutcome(StrEnum):
    """The outcome of a wait for an event; an open wait has none."""

    EVENT = "event"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    """Another event of the wait_any came first, or the task ended."""
    ANSWER = "answer"
    """A person answered it."""


class SkipKind(StrEnum):
    """Why a request created no task."""

    DUPLICATE = "duplicate"
    """Its key belongs to an existing task."""
    SINGLETON = "singleton"
    """Another task of this singleton has not ended."""
    DEBOUNCED = "debounced"
    """It replaced the payload of a debounced task."""
    BATCHED = "batched"
    """Its items were added to a task that collects a batch."""
    MISFIRE = "misfire"
    """Scheduled runs were missed."""
    PAUSED = "paused"
    """A scheduled run was due while the pipeline was paused."""
    INVALID = "invalid"
    """The event's data is not a valid payload."""
    DEFERRED = "deferred"
    """The process that routed the event does not have the pipeline: another process creates the task later."""
    UNKNOWN = "unknown"
    """No process had the pipeline for days."""
    NOT_PERMITTED = "not-permitted"
    """The event's sender has no permission for the pipeline."""


class DriftKind(StrEnum):
    """How a task's recorded steps and the code differ."""

    VERSION = "version"
    """The code does not have the task's version of the body."""
    ARGUMENTS = "arguments"
    """A recorded step is called with other arguments."""
    UNUSED = "unused"
    """The body ended without calling a recorded step."""


class BulkOperationVerb(StrEnum):
    """The action of a bulk operation."""

    RETRY = "retry"
    CANCEL = "cancel"
    RERUN = "rerun"
    RUN_NOW = "run-now"

    @property
    def words(self) -> str:
        return self.value.replace("-", " ")


class BulkOperationStatus(StrEnum):
    """The status of a bulk operation."""

    PLANNED = "planned"
    """No worker has started it."""
    RUNNING = "running"
    ABORTED = "aborted"
    """A user ended it between two batches."""
    DONE = "done"


class AttemptOutcome(StrEnum):
    """How a failed attempt ended."""

    FAILED = "failed"
    """The author's code raised an exception, or its result was refused."""
    TIMED_OUT = "timed_out"
    """The step's timeout ended it."""
    LOST = "lost"
    """The worker died or stopped sending heartbeats."""
    STOPPED = "stopped"
    """The task was cancelled, and its worker was ended after the grace period."""


ENDED: Final = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED)
"""A task in one of these has ended; it only moves again if a user retries it."""

EVENT_SUFFIXES: Final = {
    TaskStatus.SUCCEEDED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
}
"""How the names of completion events end, as in `demo/task.completed`."""

ON_A_TIMER: Final = (TaskStatus.SCHEDULED, TaskStatus.WAITING, TaskStatus.RETRYING)
"""A task in one of these becomes queued at its due time."""

LIVE: Final = tuple(status for status in TaskStatus if status not in ENDED)
"""A task in one of these has not ended."""

TRANSITIONS: Final[dict[TaskStatus, frozenset[TaskStatus]]] = {
    TaskStatus.SCHEDULED: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED}),
    # Scheduled: a caller gives a task that has not started a later start.
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.WAITING, TaskStatus.SCHEDULED, TaskStatus.CANCELLED}),
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
    # Running: a parallel step gets the slot of one that ends, and the worker that ends it claims it.
    TaskStatus.WAITING: frozenset({TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.CANCELLED}),
    TaskStatus.RETRYING: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED}),
    TaskStatus.SUCCEEDED: frozenset({TaskStatus.QUEUED}),
    TaskStatus.FAILED: frozenset({TaskStatus.QUEUED}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.QUEUED}),
}
"""From each status, the ones that a task may move to; an ended task moves only when a person retries it.

The engine's statements make the moves. The database of the tests refuses every other one.
"""


PHASES: Final = ("queued", "blocked", "waiting", "backoff", "executing")
"""What a task spends its time on: in the queue, blocked by limits or rates, sleeping or waiting, between attempts,
executing. `Task`, rollups and metrics have the seconds of each."""
