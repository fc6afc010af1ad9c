"""The form that submits a task of a pipeline."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse

from taskqueue.admin.pipelines.submit_form import SubmitForm
from taskqueue.admin.shared.links import list_url
from taskqueue.admin.shared.pages import admin_page, redirect
from taskqueue.admin.shared.task_actions import actor_of, redirect_to_submitted
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.actions import submissions
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import InvalidOptions, InvalidPayload, KeyReused, NotSerializable, TaskqueueError, UnknownPipeline
from taskqueue.forms.form_values import add_errors
from taskqueue.models import Pipeline, Task


def submit_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    if not CallerPermissions(request.user).may(Action.RUN, unquote(object_id)):
        raise PermissionDenied
    try:
        definition = registry.get(unquote(object_id))
    except UnknownPipeline as error:
        message = f"No task can be submitted: {error.detail}"
        return redirect(admin, request, list_url("pipeline"), message, messages.WARNING)
    payload = definition.payload
    form = SubmitForm(payload.json_schema(), payload.example(), request.POST if request.method == "POST" else None)
    if form.is_valid() and (task := submit(definition, form, actor=actor_of(request))) is not None:
        return redirect_to_submitted(admin, request, task)
    context = {
        "pipeline": definition.name,
        "paused": Pipeline.objects.filter(pk=definition.name, paused_at__isnull=False).first(),
        "description": definition.description,
        "form": form,
    }
    return admin_page(admin, request, "pipeline/submit.html", f"Submit a task of {definition.name}", context)


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
        add_errors(form, error.errors)
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
