"""The form that submits a task of a pipeline."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from taskqueue.admin.pipelines.submit_form import SubmitForm
from taskqueue.admin.shared.pages import admin_page
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.actions import submissions
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import InvalidOptions, InvalidPayload, KeyReused, NotSerializable, TaskqueueError, UnknownPipeline
from taskqueue.models import Pipeline, Task


class SubmitView:
    """Mix-in of `PipelineAdmin` with the view `submit/`."""

    admin_site: Any
    message_user: Any
    opts: Any
    media: Any

    def get_urls(self) -> list[URLPattern]:
        # Before Django's own patterns, which would match this address as an object id.
        view = self.admin_site.admin_view(self.submit_view)
        url = path("<path:object_id>/submit/", view, name="taskqueue_pipeline_submit")
        return [url, *super().get_urls()]  # type: ignore[misc]  # of ModelAdmin

    def submit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form on GET; on POST the submitted task's page, or the form with its errors."""
        if not CallerPermissions(request.user).may(Action.RUN, unquote(object_id)):
            raise PermissionDenied
        if request.method not in {"GET", "HEAD", "POST"}:
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        try:
            definition = registry.get(unquote(object_id))
        except UnknownPipeline as error:
            self.message_user(request, f"No task can be submitted: {error.detail}", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:taskqueue_pipeline_changelist"))
        payload = definition.payload
        form = SubmitForm(payload.json_schema(), payload.example(), request.POST if request.method == "POST" else None)
        if form.is_valid() and (task := submit(definition, form, actor=actor_of(request))) is not None:
            if task.duplicate:
                self.message_user(request, "No new task was created: this task already exists.", messages.WARNING)
            else:
                self.message_user(request, "The task is submitted.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:taskqueue_task_change", args=[task.pk]))
        context = {
            "pipeline": definition.name,
            "paused": Pipeline.objects.filter(pk=definition.name, paused_at__isnull=False).first(),
            "description": definition.description,
            "form": form,
        }
        return admin_page(self, request, "pipeline/submit.html", f"Submit a task of {definition.name}", context)


def submit(definition: PipelineDefinition, form: SubmitForm, *, actor: Actor) -> Task | None:
    """Submit the task with a log entry. None when it was refused; the form then has the errors."""
    values = form.cleaned_data
    try:
        with transaction.atomic():
            options = Options(
                key=values["key"],
                force=values["force"],
                priority=values["priority"],
                run_at=run_at_of(values),
                labels=values["labels"],
            )
            return submissions.submit(
                definition.name, form.payload(), options=options, actor=actor, message="Submitted by form."
            )
    except (InvalidPayload, NotSerializable) as error:
        form.add_payload_errors(error.errors)
    except InvalidOptions as error:
        form.add_option_errors(error.errors)
    except KeyReused as error:
        form.add_error("key", error.detail)
    except TaskqueueError as error:
        form.add_error(None, error.detail)
    return None


def run_at_of(values: dict[str, Any]) -> Any:
    """When the task is due; a delay counts from the database's present time."""
    if values["delay"] is None:
        return values["run_at"]
    now = Pipeline.objects.values_list(Now(), flat=True)[:1].get()
    try:
        return now + values["delay"]
    except OverflowError as error:
        raise TaskqueueError("That is too far in the future.") from error
