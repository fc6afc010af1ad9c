"""The button of an empty overview: send a first task, from the example payload of the pipeline that a setting names.

Only a project knows which of its pipelines is harmless, so without `TASKQUEUE["EXAMPLE_PIPELINE"]` there is no button.
"""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.actions import audited
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import TaskqueueError
from taskqueue.models import Pipeline


def offered_to(request: HttpRequest) -> Pipeline | None:
    """The pipeline, if there is one with an example payload and the user may send it a task."""
    name = settings().EXAMPLE_PIPELINE
    if not name or name not in registry.names() or not Rights(request.user).may(Action.RUN, name):
        return None
    return Pipeline.objects.filter(pk=name, payload_example__isnull=False).first()


def send(request: HttpRequest) -> HttpResponse:
    """Make the task, on the record of the user, and go to its page."""
    pipeline = offered_to(request)
    if pipeline is None:
        raise PermissionDenied
    try:
        task = audited.submit(
            pipeline.name,
            pipeline.payload_example,
            options=Options(),
            actor=actor_of(request),
            said="Sent from the overview.",
        )
    except TaskqueueError as error:
        messages.error(request, f"The example could not be sent: {error.detail}")
        return HttpResponseRedirect(reverse("admin:index"))
    return HttpResponseRedirect(reverse("admin:taskqueue_task_change", args=[task.pk]))
