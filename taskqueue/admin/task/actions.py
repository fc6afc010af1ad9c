"""Run an action on one task and answer with its page: run now, cancel, and what retry and rerun share."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from taskqueue.admin.shared import task_actions
from taskqueue.admin.shared.links import list_url, page_url
from taskqueue.admin.shared.pages import redirect
from taskqueue.admin.task.buttons import AllowedActions
from taskqueue.engine.access import permissions
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.tasks import control
from taskqueue.errors import NotPermitted, TaskNotFound, TaskqueueError

MAX_REASON = 300


def run_now_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Make a delayed task due now."""
    if not allowed_actions(admin, request).run_now:
        raise PermissionDenied
    return run_action(
        admin,
        request,
        object_id,
        control.run_now,
        Action.RETRY,
        failed="Cannot run it now",
        done="The task is due now.",
    )


def cancel_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Cancel a task, with the form's reason."""
    if not allowed_actions(admin, request).cancel:
        raise PermissionDenied
    cancel = partial(control.cancel, reason=request.POST.get("reason", "").strip()[:MAX_REASON])
    return run_action(
        admin, request, object_id, cancel, Action.CANCEL, failed="Cannot cancel", done="The task is cancelled."
    )


def run_action(
    admin: Any, request: HttpRequest, object_id: str, run: Any, action: Action, *, failed: str, done: str
) -> HttpResponse:
    """Run an audited action and redirect to the task's page with a message.

    Args:
        admin: the admin of tasks.
        request: of the user.
        object_id: the task's id.
        run: the action of `engine.actions.audited`.
        action: the permission that it needs for the task's pipeline.
        failed: the beginning of the message when the engine refuses the action.
        done: the message of success.
    """
    permitted = task_actions.require_permission(
        partial(run, actor=task_actions.actor_of(request)), action, permissions.CallerPermissions(request.user)
    )
    try:
        task = permitted(UUID(object_id))
    except (ValueError, TaskNotFound):
        return task_not_found(admin, request, object_id)
    except NotPermitted as error:
        raise PermissionDenied(error.detail) from error
    except TaskqueueError as error:
        reason = task_actions.refusal_reason(UUID(object_id), error)
        return redirect(admin, request, page_url("task", object_id), f"{failed}: {reason}", messages.ERROR)
    return redirect(admin, request, page_url("task", task.pk), done)


def allowed_actions(admin: Any, request: HttpRequest, *, pipeline: str | None = None) -> AllowedActions:
    """What the user may do to tasks of a pipeline, or in general; nothing if they may not view tasks."""
    if not admin.has_view_permission(request):
        return AllowedActions()
    rights = permissions.CallerPermissions(request.user)
    retry, cancel, rerun = (
        rights.may(action, pipeline) if pipeline is not None else rights.has_permission(action)
        for action in (Action.RETRY, Action.CANCEL, Action.RUN)
    )
    return AllowedActions(retry=retry, run_now=retry, cancel=cancel, rerun=rerun)


def task_not_found(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    message = f"There is no task {object_id}. Ended tasks may have been pruned."
    return redirect(admin, request, list_url("task"), message, messages.WARNING)
