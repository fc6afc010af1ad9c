"""Pause and resume a pipeline from its page: with a reason and a log entry."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse

from taskqueue.admin.shared.pages import admin_page, name_from_url, post_urls
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.tasks import control
from taskqueue.errors import TaskqueueError, UnknownPipeline
from taskqueue.models import Pipeline

PAUSE = "taskqueue.pause_pipeline"
PAGE = "admin:taskqueue_pipeline_change"
LIST = partial(reverse, "admin:taskqueue_pipeline_changelist")


class PauseViews:
    """Mix-in of `PipelineAdmin` with the views `pause/` and `resume/`."""

    admin_site: Any
    message_user: Any
    opts: Any
    media: Any

    def get_urls(self) -> list[URLPattern]:
        # Before Django's own patterns, which would match these addresses as object ids.
        views = {"pause": self.pause_view, "resume": self.resume_view}
        return [*post_urls(self, "pipeline", views), *super().get_urls()]  # type: ignore[misc]  # of ModelAdmin

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause the pipeline for the reason in the form; without a reason, show the form."""
        if not request.user.has_perm(PAUSE):
            raise PermissionDenied
        typed = request.POST.get("reason")
        reason = (typed or "").replace("\0", "").strip()
        if not reason:
            return self.pause_form(request, object_id, is_missing=typed is not None)
        result = "is paused. Running tasks stop after their current step."
        return self.apply(request, object_id, result, reason=reason)

    def pause_form(self, request: HttpRequest, object_id: str, *, is_missing: bool) -> HttpResponse:
        """The form that asks for the reason; `is_missing` when it was sent without one."""
        pipeline = Pipeline.objects.filter(pk=name_from_url(object_id)).only("name").first()
        if pipeline is None:
            self.message_user(request, f"There is no pipeline {unquote(object_id)}.", messages.WARNING)
            return HttpResponseRedirect(LIST())
        context = {
            "pipeline": pipeline,
            "is_missing": is_missing,
            "back": LIST() if request.GET.get("back") == "list" else reverse(PAGE, args=[quote(pipeline.pk)]),
        }
        return admin_page(self, request, "pipeline/pause.html", f"Pause {pipeline.name}", context)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.apply(request, object_id, "is running again.", reason=None)

    def apply(self, request: HttpRequest, object_id: str, result: str, *, reason: str | None) -> HttpResponse:
        """Pause for a reason, or resume without one; then go back to the pipeline or the list."""
        if not request.user.has_perm(PAUSE):
            raise PermissionDenied
        name, actor = name_from_url(object_id), actor_of(request)
        back = LIST() if request.GET.get("back") == "list" else reverse(PAGE, args=[object_id])
        try:
            if reason is None:
                control.resume_pipeline(name, actor=actor)
            else:
                control.pause_pipeline(name, reason=reason, actor=actor)
        except UnknownPipeline as error:
            self.message_user(request, error.detail, messages.WARNING)
            return HttpResponseRedirect(LIST())
        except TaskqueueError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(back)
        self.message_user(request, f"Pipeline {name} {result}", messages.SUCCESS)
        return HttpResponseRedirect(back)
