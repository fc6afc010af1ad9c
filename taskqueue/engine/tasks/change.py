"""Change the priority, the start and the labels of a task that has not ended, with an audit entry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from taskqueue.engine import sql
from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.queries.tasks import find
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks.control import lock
from taskqueue.errors import NotChangeable
from taskqueue.models import Task
from taskqueue.models.task import queue_position
from taskqueue.states import TaskStatus


def change(
    task_id: UUID,
    *,
    priority: int | None = None,
    run_at: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    actor: Actor = SYSTEM,
) -> Task:
    """Change a task: all of the given values, or none. A claim of the task comes before or after.

    Args:
        task_id: the task.
        priority: its new priority. It also counts for the queue position that the task has now.
        run_at: its new start, an aware datetime; a past time for now. Its deadline for the start moves with it.
        labels: its new labels, all of them. A running body keeps those that it began with.
        actor: named in the audit entry. Without a change there is none.

    Raises:
        TaskNotFound
        InvalidOptions: a value is not valid.
        NotChangeable: the task has ended, or `run_at` is given and the task has started or is starting.
    """
    options = Options(priority=priority or 0, run_at=run_at, labels=labels or {})
    with transaction.atomic():
        task = lock(task_id)
        if task.has_ended:
            raise NotChangeable(f"The task is {task.status}: it has ended. Rerun it as a new task.")
        values: dict[str, Any] = {} if run_at is None else start_values(task, run_at)
        if priority is not None and priority != task.priority:
            values["priority"] = priority
        if labels is not None and options.labels != task.labels:
            values["labels"] = dict(options.labels)
        if values:
            write(task, values)
            actor.record(task, changes_text(task, values))
    return find(task_id)


def write(task: Task, values: dict[str, Any]) -> None:
    due_at = values.get("due_at", task.due_at)
    position = {} if due_at is None else {"sort_at": queue_position(due_at, values.get("priority", task.priority))}
    Task.objects.filter(pk=task.pk).update(**values, **position)
    notify_on_commit()  # it may be the next one, or due earlier


def start_values(task: Task, run_at: datetime) -> dict[str, Any]:
    """The columns of a task that starts at another time; none if that changes nothing.

    Raises:
        NotChangeable
    """
    if not may_start_at_another_time(task):
        raise NotChangeable(f"The task is {task.status}: it has started or is starting, so its start cannot change.")
    ((now,),) = sql.fetch(sql.CLOCK, {})
    if run_at <= now and task.status == TaskStatus.QUEUED:
        return {}
    due_at = max(run_at, now)
    moved = {} if task.start_by is None or task.due_at is None else {"start_by": task.start_by + (due_at - task.due_at)}
    return {"status": TaskStatus.SCHEDULED if run_at > now else TaskStatus.QUEUED, "due_at": due_at, **moved}


def may_start_at_another_time(task: Task) -> bool:
    """Whether a task is scheduled, or queued and nothing of its start has happened yet.

    A debounced task that is due cannot wait again: another one may collect requests with its key by now.
    """
    if task.status == TaskStatus.SCHEDULED:
        return True
    is_starting = task.started_at is not None or task.slot_acquired_at is not None or task.debounce_key
    return task.status == TaskStatus.QUEUED and not is_starting


def changes_text(task: Task, values: Mapping[str, Any]) -> str:
    changes = []
    if "priority" in values:
        changes.append(f"priority from {task.priority} to {values['priority']}")
    if "due_at" in values:
        changes.append(f"start to {values['due_at']:%Y-%m-%d %H:%M:%S} UTC")
    if "labels" in values:
        changes.append("labels")
    return f"Changed {', '.join(changes)}."
