"""Pausing and resuming a pipeline from its page: with a reason, on the record of a user."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from taskqueue.engine import control
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
        deeds = {"pause": self.pause_view, "resume": self.resume_view}
        ours = [
            path(
                f"<path:object_id>/{noun}/",
                self.admin_site.admin_view(require_POST(view)),
                name=f"taskqueue_pipeline_{noun}",
            )
            for noun, view in deeds.items()
        ]
        return [*ours, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin comes after this class

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause it for the reason in the form; without one, ask for it."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        given = request.POST.get("reason")
        reason = (given or "").replace("\0", "").strip()
        if not reason:
            return self.ask(request, object_id, was_asked=given is not None)
        sentence = "The pipeline is paused. Tasks that run stop after the step that they are in."
        return self.do(request, object_id, f"Paused: {reason}", sentence, reason=reason)

    def ask(self, request: HttpRequest, object_id: str, *, was_asked: bool) -> HttpResponse:
        """Ask why, for those who ask why their tasks wait."""
        pipeline = Pipeline.objects.filter(pk=unquote(object_id).replace("\0", "")).only("name").first()
        if pipeline is None:
            self.message_user(request, f"There is no pipeline {unquote(object_id)}.", messages.WARNING)
            return HttpResponseRedirect(LIST())
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": f"Pause {pipeline.name}",
            "opts": self.opts,
            "media": self.media,
            "pipeline": pipeline,
            "was_asked": was_asked,
            "back": LIST() if request.GET.get("back") == "list" else page_of(pipeline),
        }
        return TemplateResponse(request, "admin/taskqueue/pipeline/pause.html", context)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it go on."""
        return self.do(request, object_id, "Resumed.", "The pipeline goes on.", reason=None)

    def do(
        self, request: HttpRequest, object_id: str, entry: str, sentence: str, *, reason: str | None
    ) -> HttpResponse:
        """Do one of them, write down who did it, and show the pipeline, or the list if that was in view."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        name = unquote(object_id)
        back = LIST() if request.GET.get("back") == "list" else reverse(PAGE, args=[object_id])
        try:
            with transaction.atomic():
                pipeline = (
                    control.resume_pipeline(name)
                    if reason is None
                    else control.pause_pipeline(name, reason=reason, by=request.user.get_username())
                )
                LogEntry.objects.log_actions(request.user.pk or 0, [pipeline], CHANGE, entry, single_object=True)
        except UnknownPipeline as error:
            self.message_user(request, error.detail, messages.WARNING)
            return HttpResponseRedirect(LIST())
        except TaskqueueError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(back)
        self.message_user(request, f"{name}: {sentence}" if back == LIST() else sentence, messages.SUCCESS)
        return HttpResponseRedirect(back)


def page_of(pipeline: Pipeline) -> str:
    """The address of a pipeline's page."""
    return reverse(PAGE, args=[quote(pipeline.pk)])
