"""Pause and resume a pipeline from its page: with a reason and a log entry."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from taskqueue.admin.shared.links import list_url, page_url
from taskqueue.admin.shared.pages import admin_page, name_from_url, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.tasks import control
from taskqueue.errors import TaskqueueError, UnknownPipeline
from taskqueue.models import Pipeline

PAUSE = "taskqueue.pause_pipeline"


def pause_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Pause the pipeline for the reason in the form; without a reason, show the form."""
    if not request.user.has_perm(PAUSE):
        raise PermissionDenied
    typed = request.POST.get("reason")
    reason = (typed or "").replace("\0", "").strip()
    if not reason:
        return pause_form(admin, request, object_id, is_missing=typed is not None)
    return apply(admin, request, object_id, "is paused. Running tasks stop after their current step.", reason=reason)


def resume_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    return apply(admin, request, object_id, "is running again.", reason=None)


def pause_form(admin: Any, request: HttpRequest, object_id: str, *, is_missing: bool) -> HttpResponse:
    """The form that asks for the reason; `is_missing` when it was sent without one."""
    pipeline = Pipeline.objects.filter(pk=name_from_url(object_id)).only("name").first()
    if pipeline is None:
        message = f"There is no pipeline {unquote(object_id)}."
        return redirect(admin, request, list_url("pipeline"), message, messages.WARNING)
    context = {"pipeline": pipeline, "is_missing": is_missing, "back": address_after(request, pipeline.pk)}
    return admin_page(admin, request, "pipeline/pause.html", f"Pause {pipeline.name}", context)


def apply(admin: Any, request: HttpRequest, object_id: str, result: str, *, reason: str | None) -> HttpResponse:
    if not request.user.has_perm(PAUSE):
        raise PermissionDenied
    name, actor = name_from_url(object_id), actor_of(request)
    back = address_after(request, name)
    try:
        if reason is None:
            control.resume_pipeline(name, actor=actor)
        else:
            control.pause_pipeline(name, reason=reason, actor=actor)
    except UnknownPipeline as error:
        return redirect(admin, request, list_url("pipeline"), error.detail, messages.WARNING)
    except TaskqueueError as error:
        return redirect(admin, request, back, error.detail, messages.ERROR)
    return redirect(admin, request, back, f"Pipeline {name} {result}")


def address_after(request: HttpRequest, name: str) -> str:
    return list_url("pipeline") if request.GET.get("back") == "list" else page_url("pipeline", name)
