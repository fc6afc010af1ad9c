"""Where the time of a task went: in the queue, held back by limits, waiting, between attempts, and executing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from taskqueue.states import ON_A_TIMER, PHASES, TaskStatus

if TYPE_CHECKING:
    from taskqueue.models import Task

PHASE_OF = {
    TaskStatus.QUEUED: "queued",
    TaskStatus.RUNNING: "executing",
    TaskStatus.WAITING: "waiting",
    TaskStatus.RETRYING: "backoff",
}
"""What the present status adds to; the others add to nothing."""


@dataclass(frozen=True)
class Spent:
    """The lengths of the phases; together the time since the task became due, without that after its ends."""

    queued: timedelta = timedelta(0)
    blocked: timedelta = timedelta(0)
    waiting: timedelta = timedelta(0)
    backoff: timedelta = timedelta(0)
    executing: timedelta = timedelta(0)

    @property
    def elapsed(self) -> timedelta:
        """All of them."""
        return sum((getattr(self, phase) for phase in PHASES), timedelta(0))

    def plus(self, phase: str, length: timedelta) -> Spent:
        """The same with more of one phase."""
        return replace(self, **{phase: getattr(self, phase) + max(length, timedelta(0))})


def spent_of(task: Task, now: datetime) -> Spent:
    """What the task's row says, with what its present status adds until now.

    Of a task of before the columns only its times are known: all of it counts as executing.
    """
    if task.since is None and task.started_at is not None:
        queued = task.started_at - task.created_at
        return Spent(queued=queued, executing=(task.finished_at or now) - task.started_at)
    known = {phase: getattr(task, f"{phase}_seconds") or 0.0 for phase in PHASES}
    spent = Spent(**{phase: timedelta(seconds=seconds) for phase, seconds in known.items()})
    since, until = task.since or task.created_at, now
    if task.status in ON_A_TIMER and task.due_at is not None and task.due_at < now:
        until = max(task.due_at, since)
        spent = spent.plus("queued", now - until)  # it is due, and stands in the queue with the next look
    phase = PHASE_OF.get(TaskStatus(task.status))
    if phase is None:
        return spent
    return spent.plus("blocked" if phase == "waiting" and task.blocked_on else phase, until - since)
