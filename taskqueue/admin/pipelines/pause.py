"""Pausing and resuming a pipeline from its page: with a reason, on the record of a user."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse

from taskqueue.admin.shared.pages import framed, named, posted_to
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.actions import audited
from taskqueue.errors import TaskqueueError, UnknownPipeline
from taskqueue.models import Pipeline

NEEDS = "taskqueue.pause_pipeline"
PAGE = "admin:taskqueue_pipeline_change"
LIST = partial(reverse, "admin:taskqueue_pipeline_changelist")


class Pauses:
    """The addresses of both deeds, for `PipelineAdmin`."""

    admin_site: Any
    message_user: Any
    opts: Any
    media: Any

    def get_urls(self) -> list[URLPattern]:
        """Both before the stock ones, which would take them for names."""
        views = {"pause": self.pause_view, "resume": self.resume_view}
        ours = posted_to(self, "pipeline", views)
        return [*ours, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin comes after this class

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause it for the reason in the form; without one, ask for it."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        given = request.POST.get("reason")
        reason = (given or "").replace("\0", "").strip()
        if not reason:
            return self.ask(request, object_id, was_asked=given is not None)
        sentence = "is paused. Running tasks stop after their current step."
        return self.do(request, object_id, sentence, reason=reason)

    def ask(self, request: HttpRequest, object_id: str, *, was_asked: bool) -> HttpResponse:
        """Ask why, for those who ask why their tasks wait."""
        pipeline = Pipeline.objects.filter(pk=named(object_id)).only("name").first()
        if pipeline is None:
            self.message_user(request, f"There is no pipeline {unquote(object_id)}.", messages.WARNING)
            return HttpResponseRedirect(LIST())
        context = {
            "pipeline": pipeline,
            "was_asked": was_asked,
            "back": LIST() if request.GET.get("back") == "list" else page_of(pipeline),
        }
        return framed(self, request, "pipeline/pause.html", f"Pause {pipeline.name}", context)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it go on."""
        return self.do(request, object_id, "is running again.", reason=None)

    def do(self, request: HttpRequest, object_id: str, sentence: str, *, reason: str | None) -> HttpResponse:
        """Do one of them, write down who did it, and show the pipeline, or the list if that was in view."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        name, actor = named(object_id), actor_of(request)
        back = LIST() if request.GET.get("back") == "list" else reverse(PAGE, args=[object_id])
        try:
            if reason is None:
                audited.resume(name, actor=actor)
            else:
                audited.pause(name, reason=reason, actor=actor)
        except UnknownPipeline as error:
            self.message_user(request, error.detail, messages.WARNING)
            return HttpResponseRedirect(LIST())
        except TaskqueueError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(back)
        self.message_user(request, f"Pipeline {name} {sentence}", messages.SUCCESS)
        return HttpResponseRedirect(back)


def page_of(pipeline: Pipeline) -> str:
    """The address of a pipeline's page."""
    return reverse(PAGE, args=[quote(pipeline.pk)])
