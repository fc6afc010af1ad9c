"""What people do to tasks: one call of the engine, one line in the audit log, in one transaction; and what to tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db import transaction

from taskqueue.admin import formats
from taskqueue.engine import clock, control, limits, queries
from taskqueue.errors import NotCancellable, NotRetryable, TaskNotFound, TaskqueueError
from taskqueue.models import RateUse, Schedule, Task

LIMIT = 200
"""Tasks that one request may change."""

Verb = Callable[[UUID], Task]


@dataclass
class Tally:
    """What became of the tasks that a verb was called for."""

    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def sentence(self, done: str) -> str:
        """An exact account: how many were done, how many not, and why."""
        parts = [f"{formats.count_of(self.done, 'task')} {done}."] if self.done or not self.refused else []
        parts += [f"{formats.count_of(number, 'task')} not {done}: {why}" for why, number in self.refused.most_common()]
        return " ".join(parts)


def retry(task_id: UUID, *, user: int, from_step: str | None = None) -> Task:
    """Queue an ended task again, on the record of a user.

    Raises:
        TaskNotFound, UnknownStep, NotRetryable
    """
    with transaction.atomic():
        before = queries.find(task_id).status
        task = control.retry(task_id, from_step=from_step)
        what = f"Retried from step {from_step}" if from_step is not None else "Retried"
        record(task, user=user, message=f"{what}; it was {before}.")
    return task


def cancel(task_id: UUID, *, user: int, reason: str = "") -> Task:
    """End a task that has not ended, on the record of a user.

    Raises:
        TaskNotFound, NotCancellable
    """
    with transaction.atomic():
        before = queries.find(task_id).status
        task = control.cancel(task_id, reason=reason)
        said = f" Reason: {task.cancel_reason}" if task.cancel_reason else ""
        record(task, user=user, message=f"Cancelled; it was {before}.{said}")
    return task


def rerun(task_id: UUID, *, user: int, payload: Any = control.SAME) -> Task:
    """Make a new task from an old one's payload, or from another one in its place, on the record of a user.

    Raises:
        TaskNotFound, UnknownPipeline, InvalidPayload
    """
    with transaction.atomic():
        task = control.rerun(task_id, payload=payload)
        how = "" if payload is control.SAME else " with an edited payload"
        record(queries.find(task_id), user=user, message=f"Reran{how} as {task.pk}.")
        record(task, user=user, message=f"Made as a rerun of {task_id}{how}.", flag=ADDITION)
    return task


def run_now(schedule: Schedule, *, user: int) -> Task:
    """Make a task as a schedule's next tick would, on the record of a user.

    Raises:
        UnknownPipeline, InvalidPayload, TooLarge
    """
    with transaction.atomic():
        task = clock.run_now(schedule.pipeline_id)
        if not task.duplicate:
            LogEntry.objects.log_actions(user, [schedule], CHANGE, f"Ran now as {task.pk}.", single_object=True)
            record(task, user=user, message="Made by hand from its schedule.", flag=ADDITION)
    return task


def release_hold(use: RateUse, *, user: int) -> bool:
    """Let a rate's users pass again, on the record of a user. False when it is not held any more."""
    with transaction.atomic():
        done = limits.release_hold(use.rate_id, use.key)
        if done:
            what = f"Released the hold of {use.key}." if use.key else "Released the hold."
            LogEntry.objects.log_actions(user, [use.rate], CHANGE, what, single_object=True)
    return done


def record(task: Task, *, user: int, message: str, flag: int = CHANGE) -> None:
    """Write down who did what to a task."""
    LogEntry.objects.log_actions(user, [task], flag, message, single_object=True)


def for_each(task_ids: Iterable[UUID], verb: Verb) -> Tally:
    """Do the same to several tasks; each succeeds or is refused by itself."""
    tally = Tally()
    for task_id in task_ids:
        try:
            verb(task_id)
        except TaskqueueError as error:
            tally.refused[reason(task_id, error)] += 1
        else:
            tally.done += 1
    return tally


def reason(task_id: UUID, error: TaskqueueError) -> str:
    """Why a verb was refused: for a task that has moved on what it is now, else what the engine says."""
    if not isinstance(error, NotRetryable | NotCancellable):
        return error.detail
    try:
        return f"the task is now {queries.find(task_id).status}."
    except TaskNotFound as gone:
        return gone.detail
