"""Retry and rerun one task. If that repeats more than one step, a page lists the steps and asks for confirmation."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import urlencode

from taskqueue.admin.shared.links import page_url, view_url
from taskqueue.admin.shared.pages import admin_page, redirect
from taskqueue.admin.task import repeated_steps
from taskqueue.admin.task.actions import allowed_actions, run_action, task_not_found
from taskqueue.admin.task.repeated_steps import RepeatedSteps
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks import control
from taskqueue.errors import TaskNotFound, UnknownStep
from taskqueue.models import Task
from taskqueue.states import ENDED

CONFIRMED = "confirmed"
"""A field of forms that have listed the repeated steps."""


def retry_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Retry a task, from `from_step` if the request has one. GET asks for confirmation."""
    if not allowed_actions(admin, request).retry:
        raise PermissionDenied
    params = request.POST if request.method == "POST" else request.GET
    from_step = params.get("from_step", "").replace("\0", "") or None
    response = confirmation(admin, request, object_id, "retry", from_step)
    if response is not None:
        return response
    done = f"The task is queued again, from step {from_step}." if from_step else "The task is queued again."
    retry = partial(control.retry, from_step=from_step)
    return run_action(admin, request, object_id, retry, Action.RETRY, failed="Cannot retry", done=done)


def rerun_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Create a new task with the same payload. GET asks for confirmation."""
    if not allowed_actions(admin, request).rerun:
        raise PermissionDenied
    response = confirmation(admin, request, object_id, "rerun", None)
    if response is not None:
        return response
    done = "This is a new task with the same payload."
    return run_action(admin, request, object_id, control.rerun, Action.RUN, failed="Cannot rerun", done=done)


def confirmation(
    admin: Any, request: HttpRequest, object_id: str, action: str, from_step: str | None
) -> HttpResponse | None:
    """The confirmation page, or a redirect to it; None when the action may run."""
    is_post = request.method == "POST"
    if is_post and CONFIRMED in request.POST:
        return None
    try:
        task = tasks.find(UUID(object_id))
        steps = repeated_steps.of_rerun(task) if action == "rerun" else repeated_steps.of_retry(task, from_step)
    except (ValueError, TaskNotFound):
        return task_not_found(admin, request, object_id)
    except UnknownStep as error:
        return redirect(admin, request, page_url("task", object_id), f"Cannot retry: {error.detail}", messages.ERROR)
    if not getattr(allowed_actions(admin, request, pipeline=task.pipeline_id), action):
        raise PermissionDenied(f"You may not {action} tasks of pipeline {task.pipeline_id!r}.")
    if not is_post:
        return confirmation_page(admin, request, task, action, from_step, steps)
    # A rerun always asks, because it keeps nothing.
    if action == "retry" and steps.calls <= 1:
        return None
    query = f"?{urlencode({'from_step': from_step})}" if from_step else ""
    return HttpResponseRedirect(view_url("task", action, task.pk) + query)


def confirmation_page(
    admin: Any, request: HttpRequest, task: Task, action: str, from_step: str | None, steps: RepeatedSteps
) -> HttpResponse:
    context = {
        "task": task,
        "action": action,
        "address": view_url("task", action, task.pk),
        "from_step": from_step or "",
        "repeated": steps,
        "refusal": refusal(task, action, from_step),
    }
    title = f"{action.capitalize()} {task.pipeline_id} {task.key}".strip()
    return admin_page(admin, request, "task/confirm.html", title, context)


def refusal(task: Task, action: str, from_step: str | None) -> str:
    """Why the action is not possible now; empty when it is. The engine checks again when it runs."""
    allowed = ENDED if from_step is not None else control.RETRYABLE
    return control.retry_refusal(task) if action == "retry" and task.status not in allowed else ""
