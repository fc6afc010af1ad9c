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

    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    FAILED = "failed"


class AttemptOutcome(StrEnum):
    """How a try that did not succeed ended."""

    FAILED = "failed"
    """The author's code raised, or returned something that does not fit."""
    TIMED_OUT = "timed_out"
    """The step's own timeout ended it."""
    LOST = "lost"
    """The worker died or fell silent in the middle of it."""


ENDED: Final = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED)
"""A task in one of these holds still until a person asks for more."""

ON_A_TIMER: Final = (TaskStatus.SCHEDULED, TaskStatus.WAITING, TaskStatus.RETRYING)
"""A task in one of these becomes queued when its time comes."""

LIVE: Final = tuple(status for status in TaskStatus if status not in ENDED)
"""Everything that still has something to do."""

MOVES: Final[dict[TaskStatus, frozenset[TaskStatus]]] = {
    TaskStatus.SCHEDULED: frozenset({TaskStatus.QUEUED, TaskStatus.CANCELLED}),
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED}),
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
"""From each status, the ones that a task may move to; an ended task moves only when a person retries it."""


def sources_of(target: TaskStatus) -> list[TaskStatus]:
    """The statuses from which a task may move to this one."""
    return [source for source, targets in MOVES.items() if target in targets]
