"""Submitting a task of a pipeline by a form."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from taskqueue.admin.pipelines.submit_form import SubmissionForm
from taskqueue.admin.shared.pages import framed
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.actions import audited
from taskqueue.engine.actions.audited import Actor
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import InvalidOptions, InvalidPayload, KeyReused, NotSerializable, TaskqueueError, UnknownPipeline
from taskqueue.models import Pipeline, Task


class Submissions:
    """The address of the form, for `PipelineAdmin`."""

    admin_site: Any
    message_user: Any
    opts: Any
    media: Any

    def get_urls(self) -> list[URLPattern]:
        """Before the stock ones, which would take it for a name."""
        view = self.admin_site.admin_view(self.submit_view)
        ours = path("<path:object_id>/submit/", view, name="taskqueue_pipeline_submit")
        return [ours, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin comes after this class

    def submit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form, and what it sends."""
        if not Rights(request.user).may(Action.RUN, unquote(object_id)):
            raise PermissionDenied
        if request.method not in {"GET", "HEAD", "POST"}:
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        try:
            definition = registry.get(unquote(object_id))
        except UnknownPipeline as error:
            self.message_user(request, f"Nothing can be submitted here: {error.detail}", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:taskqueue_pipeline_changelist"))
        payload = definition.payload
        form = SubmissionForm(
            payload.json_schema(), payload.example(), request.POST if request.method == "POST" else None
        )
        if form.is_valid() and (task := submitted(definition, form, actor=actor_of(request))) is not None:
            self.message_user(request, *account_of(task))
            return HttpResponseRedirect(reverse("admin:taskqueue_task_change", args=[task.pk]))
        return self.show_form(request, definition, form)

    def show_form(self, request: HttpRequest, definition: PipelineDefinition, form: SubmissionForm) -> HttpResponse:
        """The page, with everything that was typed."""
        context = {
            "pipeline": definition.name,
            "paused": Pipeline.objects.filter(pk=definition.name, paused_at__isnull=False).first(),
            "description": definition.description,
            "form": form,
        }
        return framed(self, request, "pipeline/submit.html", f"Submit a task of {definition.name}", context)


def submitted(definition: PipelineDefinition, form: SubmissionForm, *, actor: Actor) -> Task | None:
    """Hand the task in, on the record of a user; None when it was refused, and the form then says why."""
    values = form.cleaned_data
    try:
        with transaction.atomic():
            options = Options(
                key=values["key"],
                force=values["force"],
                priority=values["priority"],
                run_at=starting_time(values),
                labels=values["labels"],
            )
            task = audited.submit(
                definition.name, form.payload(), options=options, actor=actor, said="Submitted by form."
            )
    except (InvalidPayload, NotSerializable) as error:
        form.tell(error.errors)
    except InvalidOptions as error:
        form.tell_of_options(error.errors)
    except KeyReused as error:
        form.add_error("key", error.detail)
    except TaskqueueError as error:
        form.add_error(None, error.detail)
    else:
        return task
    return None


def starting_time(values: dict[str, Any]) -> Any:
    """When it may start, by the database's clock."""
    if values["delay"] is None:
        return values["run_at"]
    now = Pipeline.objects.values_list(Now(), flat=True)[:1].get()
    try:
        return now + values["delay"]
    except OverflowError as error:
        raise TaskqueueError("That is too far in the future.") from error


def account_of(task: Task) -> tuple[str, int]:
    """What to tell of a task that was handed in."""
    if task.duplicate:
        return "No new task was made: this one stands in for it.", messages.WARNING
    return "The task is submitted.", messages.SUCCESS
