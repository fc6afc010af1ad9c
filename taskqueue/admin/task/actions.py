"""Run an action on one task and answer with its page: run now, cancel, and what retry and rerun share."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from taskqueue.admin.shared import task_actions
from taskqueue.admin.shared.links import list_url, page_url
from taskqueue.admin.shared.pages import redirect
from taskqueue.engine.access import permissions
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.tasks import control
from taskqueue.errors import NotPermitted, TaskNotFound, TaskqueueError

MAX_REASON = 300
ACTIONS: Final = {
    "retry": (Action.RETRY, "Cannot retry"),
    "run_now": (Action.RETRY, "Cannot run it now"),
    "cancel": (Action.CANCEL, "Cannot cancel"),
    "rerun": (Action.RUN, "Cannot rerun"),
}
"""The permission that each action on a task needs, and how the message begins when the engine refuses it."""


def run_now_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    return run_action(admin, request, object_id, "run_now", control.run_now, "The task is due now.")


def cancel_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    cancel = partial(control.cancel, reason=request.POST.get("reason", "").strip()[:MAX_REASON])
    return run_action(admin, request, object_id, "cancel", cancel, "The task is cancelled.")


def run_action(admin: Any, request: HttpRequest, object_id: str, action: str, run: Any, done: str) -> HttpResponse:
    """Run an audited action and redirect to the task's page with a message: done, or why the engine refused it."""
    require(admin, request, action)
    permission, failed = ACTIONS[action]
    permitted = task_actions.require_permission(
        partial(run, actor=task_actions.actor_of(request)), permission, permissions.CallerPermissions(request.user)
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


def require(admin: Any, request: HttpRequest, action: str, *, pipeline: str | None = None) -> None:
    """Raise PermissionDenied unless the user may take an action on tasks of a pipeline, or in general."""
    if action not in allowed_actions(admin, request, pipeline=pipeline):
        raise PermissionDenied(f"You may not {action} tasks of pipeline {pipeline!r}." if pipeline else "")


def allowed_actions(admin: Any, request: HttpRequest, *, pipeline: str | None = None) -> set[str]:
    """What the user may do to tasks of a pipeline, or in general; nothing if they may not view tasks."""
    if not admin.has_view_permission(request):
        return set()
    rights = permissions.CallerPermissions(request.user)
    return {
        name
        for name, (permission, _failed) in ACTIONS.items()
        if (rights.has_permission(permission) if pipeline is None else rights.may(permission, pipeline))
    }


def task_not_found(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    message = f"There is no task {object_id}. Ended tasks may have been pruned."
    return redirect(admin, request, list_url("task"), message, messages.WARNING)
