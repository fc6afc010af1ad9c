"""Run audited actions on tasks for an admin user, and report what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponseRedirect

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.links import page_url
from taskqueue.admin.shared.pages import redirect
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.queries import tasks
from taskqueue.errors import NotCancellable, NotRetryable, TaskNotFound, TaskqueueError
from taskqueue.models import Task

MAX_TASKS = 200
"""Tasks that one request may change."""

TaskAction = Callable[[UUID], Task]


@dataclass
class ActionCounts:
    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def sentence(self, done: str) -> str:
        """A message such as `2 tasks retried. 1 task not retried: the task is now queued.`"""
        parts = [f"{formats.count_of(self.done, 'task')} {done}."] if self.done or not self.refused else []
        parts += [f"{formats.count_of(number, 'task')} not {done}: {why}" for why, number in self.refused.most_common()]
        return " ".join(parts)


def actor_of(request: HttpRequest) -> Actor:
    return Actor(request.user.pk, request.user.get_username())


def redirect_to_submitted(admin: Any, request: HttpRequest, task: Any) -> HttpResponseRedirect:
    """Redirect to a task that a form submitted, or to the existing one that it got."""
    address = page_url("task", task.pk)
    if task.duplicate:
        message = "No new task was created: this task already exists."
        return redirect(admin, request, address, message, messages.WARNING)
    return redirect(admin, request, address, "The task is submitted.")


def require_permission(run: TaskAction, action: Action, rights: CallerPermissions) -> TaskAction:
    """Wrap a task action: it raises NotPermitted when the user has no permission for the task's pipeline."""

    def wrapper(task_id: UUID) -> Task:
        rights.require(action, tasks.pipeline_of(task_id))
        return run(task_id)

    return wrapper


def run_for_each(task_ids: Iterable[UUID], run: TaskAction) -> ActionCounts:
    """Run a task action on each task in a transaction of its own, and count the results."""
    counts = ActionCounts()
    for task_id in task_ids:
        try:
            run(task_id)
        except TaskqueueError as error:
            counts.refused[refusal_reason(task_id, error)] += 1
        else:
            counts.done += 1
    return counts


def refusal_reason(task_id: UUID, error: TaskqueueError) -> str:
    """Why an action was refused: the task's present status if that is the reason, else the engine's message."""
    if not isinstance(error, NotRetryable | NotCancellable):
        return error.detail
    try:
        return f"the task is now {tasks.find(task_id).status}."
    except TaskNotFound as gone:
        return gone.detail
