"""Where a task's time went: queued, blocked by limits, waiting, between attempts, and executing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from taskqueue.states import ON_A_TIMER, PHASES, TaskStatus

if TYPE_CHECKING:
    from taskqueue.models import Task

PHASE_OF_STATUS = {
    TaskStatus.QUEUED: "queued",
    TaskStatus.RUNNING: "executing",
    TaskStatus.WAITING: "waiting",
    TaskStatus.RETRYING: "backoff",
}


@dataclass(frozen=True)
class TimeSpent:
    """The duration of each phase. Their sum is the time from the task's due time until its end or now."""

    queued: timedelta = timedelta(0)
    blocked: timedelta = timedelta(0)
    waiting: timedelta = timedelta(0)
    backoff: timedelta = timedelta(0)
    executing: timedelta = timedelta(0)

    @property
    def elapsed(self) -> timedelta:
        """The sum of all phases."""
        return sum((getattr(self, phase) for phase in PHASES), timedelta(0))

    def plus(self, phase: str, duration: timedelta) -> TimeSpent:
        return replace(self, **{phase: getattr(self, phase) + max(duration, timedelta(0))})


def time_spent_of(task: Task, now: datetime) -> TimeSpent:
    """The phases recorded in the task's row, plus the time in its present status until now."""
    if task.since is None and task.started_at is not None:
        # The row is from before the phase columns: all time since its start counts as executing.
        queued = task.started_at - task.created_at
        return TimeSpent(queued=queued, executing=(task.finished_at or now) - task.started_at)
    recorded = {phase: getattr(task, f"{phase}_seconds") or 0.0 for phase in PHASES}
    spent = TimeSpent(**{phase: timedelta(seconds=seconds) for phase, seconds in recorded.items()})
    since, until = task.since or task.created_at, now
    if task.status in ON_A_TIMER and task.due_at is not None and task.due_at < now:
        until = max(task.due_at, since)
        spent = spent.plus("queued", now - until)  # it is due; the dispatcher's next round queues it
    phase = PHASE_OF_STATUS.get(TaskStatus(task.status))
    if phase is None:
        return spent
    return spent.plus("blocked" if phase == "waiting" and task.blocked_on else phase, until - since)
