"""The form on a pipeline's page that moves it to another queue."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from taskqueue.admin.shared.links import list_url, page_url
from taskqueue.admin.shared.pages import name_from_url, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.engine.actions import queues
from taskqueue.errors import InvalidQueue
from taskqueue.models import Pipeline

MOVE = "taskqueue.change_pipeline"
"""The permission to move a pipeline to another queue."""


class QueueForm(forms.Form):
    prefix = "move"

    queue = forms.CharField(
        required=False, help_text="Workers that take this queue claim its tasks from now on. Empty: the queue in code."
    )

    def __init__(self, pipeline: Pipeline, data: Any = None) -> None:
        super().__init__(data, initial={"queue": pipeline.queue})
        self.fields["queue"].widget.attrs["placeholder"] = pipeline.declared_queue

    def clean_queue(self) -> str:
        queue: str = self.cleaned_data["queue"]
        try:
            queues.check_queue(queue)
        except InvalidQueue as error:
            raise ValidationError(error.detail) from error
        return queue


def move_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """Move the pipeline to the queue in the form; or show the page with the form's error."""
    if not request.user.has_perm(MOVE):
        raise PermissionDenied
    name = name_from_url(object_id)
    pipeline = Pipeline.objects.filter(pk=name).only("queue", "declared_queue").first()
    if pipeline is None:
        message = f"There is no pipeline {name}."
        return redirect(admin, request, list_url("pipeline"), message, messages.WARNING)
    form = QueueForm(pipeline, request.POST)
    if not form.is_valid():
        page: HttpResponse = admin.show_page(request, object_id, forms={form.prefix: form})
        return page
    if not form.changed_data:
        return HttpResponseRedirect(page_url("pipeline", name))
    moved = queues.move_pipeline(name, form.cleaned_data["queue"], actor=actor_of(request))
    message = f"Pipeline {name} is in queue {moved.effective_queue}. This applies to all claims from now on."
    return redirect(admin, request, page_url("pipeline", name), message)
