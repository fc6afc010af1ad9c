"""The button of an empty overview: submit a first task with the example payload of `TASKQUEUE["EXAMPLE_PIPELINE"]`.

Only the project knows which of its pipelines is harmless, so without the setting there is no button.
"""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from taskqueue.admin.shared.links import page_url
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.actions import submissions
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import TaskqueueError
from taskqueue.models import Pipeline


def submit_example(request: HttpRequest) -> HttpResponse:
    pipeline = example_pipeline_for(request)
    if pipeline is None:
        raise PermissionDenied
    try:
        task = submissions.submit(
            pipeline.name,
            pipeline.payload_example,
            options=Options(),
            actor=actor_of(request),
            message="Submitted from the overview.",
        )
    except TaskqueueError as error:
        messages.error(request, f"The example task was not submitted: {error.detail}")
        return HttpResponseRedirect(reverse("admin:index"))
    return HttpResponseRedirect(page_url("task", task.pk))


def example_pipeline_for(request: HttpRequest) -> Pipeline | None:
    """The example pipeline; None without one, without an example payload, or when the user may not submit to it."""
    name = settings().EXAMPLE_PIPELINE
    if not name or name not in registry.names() or not CallerPermissions(request.user).may(Action.RUN, name):
        return None
    return Pipeline.objects.filter(pk=name, payload_example__isnull=False).first()
