"""Pausing and resuming a pipeline from its page: with a reason, on the record of a user."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from taskqueue.engine import deeds
from taskqueue.engine.deeds import Doer
from taskqueue.errors import TaskqueueError, UnknownPipeline
from taskqueue.models import Pipeline

NEEDS = "taskqueue.pause_pipeline"


class Pauses:
    """The addresses of both deeds, for `PipelineAdmin`."""

    admin_site: Any
    message_user: Any

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
        """Pause it, for the reason in the form."""
        reason = request.POST.get("reason", "").replace("\0", "").strip()
        if not reason:
            return self.refuse(request, object_id, "Say why, for those who ask why their tasks wait.")
        sentence = "The pipeline is paused. Tasks that run stop after the step that they are in."
        return self.do(request, object_id, sentence, reason=reason)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it go on."""
        return self.do(request, object_id, "The pipeline goes on.", reason=None)

    def do(self, request: HttpRequest, object_id: str, sentence: str, *, reason: str | None) -> HttpResponse:
        """Do one of them, write down who did it, and show the pipeline."""
        if not request.user.has_perm(NEEDS):
            raise PermissionDenied
        name = unquote(object_id)
        doer = Doer(request.user.pk, request.user.get_username())
        try:
            pipeline = deeds.resume(name, doer=doer) if reason is None else deeds.pause(name, reason=reason, doer=doer)
        except UnknownPipeline as error:
            self.message_user(request, error.detail, messages.WARNING)
            return HttpResponseRedirect(reverse("admin:taskqueue_pipeline_changelist"))
        except TaskqueueError as error:
            return self.refuse(request, object_id, error.detail)
        self.message_user(request, sentence, messages.SUCCESS)
        return HttpResponseRedirect(page_of(pipeline))

    def refuse(self, request: HttpRequest, object_id: str, why: str) -> HttpResponse:
        """Say why nothing was done, on the pipeline's page."""
        self.message_user(request, why, messages.ERROR)
        return HttpResponseRedirect(reverse("admin:taskqueue_pipeline_change", args=[object_id]))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, with whether its user may pause it."""
        context["may_pause"] = request.user.has_perm(NEEDS)
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]  # the same


def page_of(pipeline: Pipeline) -> str:
    """The address of a pipeline's page."""
    return reverse("admin:taskqueue_pipeline_change", args=[pipeline.pk])
