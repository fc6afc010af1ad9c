"""Retry and rerun one task. If that repeats more than one step, a page lists the steps and asks for confirmation."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import urlencode

from taskqueue.admin.shared.links import page_url, view_url
from taskqueue.admin.shared.pages import admin_page, redirect
from taskqueue.admin.task import repeated_steps
from taskqueue.admin.task.actions import require, run_action, task_not_found
from taskqueue.admin.task.repeated_steps import RepeatedSteps
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks import control
from taskqueue.errors import TaskNotFound, UnknownStep
from taskqueue.models import Task
from taskqueue.states import ENDED

CONFIRMED = "confirmed"
"""A field of forms that have listed the repeated steps."""


def retry_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Retry a task, from `from_step` if the request has one. GET asks for confirmation."""
    params = request.POST if request.method == "POST" else request.GET
    from_step = params.get("from_step", "").replace("\0", "") or None
    response = confirmation(admin, request, object_id, "retry", from_step)
    if response is not None:
        return response
    done = f"The task is queued again, from step {from_step}." if from_step else "The task is queued again."
    retry = partial(control.retry, from_step=from_step)
    return run_action(admin, request, object_id, "retry", retry, done)


def rerun_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    response = confirmation(admin, request, object_id, "rerun", None)
    if response is not None:
        return response
    done = "This is a new task with the same payload."
    return run_action(admin, request, object_id, "rerun", control.rerun, done)


def confirmation(
    admin: Any, request: HttpRequest, object_id: str, action: str, from_step: str | None
) -> HttpResponse | None:
    """The confirmation page, or a redirect to it; None when the action may run."""
    require(admin, request, action)
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
    require(admin, request, action, pipeline=task.pipeline_id)
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
    allowed = ENDED if from_step is not None else control.RETRYABLE
    is_refused = action == "retry" and task.status not in allowed
    context = {
        "task": task,
        "action": action,
        "address": view_url("task", action, task.pk),
        "from_step": from_step or "",
        "repeated": steps,
        # The engine checks again when the action runs.
        "refusal": control.retry_refusal(task) if is_refused else "",
    }
    title = f"{action.capitalize()} {task.pipeline_id} {task.key}".strip()
    return admin_page(admin, request, "task/confirm.html", title, context)
