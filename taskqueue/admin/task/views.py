"""What leads from a task's page: downloads of what is too long for it, and the form of a rerun with a new payload."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_http_methods

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.pages import framed
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.admin.task import redaction as page_redaction
from taskqueue.admin.task import repeats
from taskqueue.admin.task.queries import text_of
from taskqueue.admin.task.rerun_form import RerunForm
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Rights, Visibility
from taskqueue.engine.actions import audited
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.errors import TaskNotFound
from taskqueue.models import Step, Task


class TaskDoors:
    """Views of `TaskAdmin` beside its page."""

    def get_urls(self: Any) -> list[URLPattern]:
        """Their addresses, before the stock ones, which would take them for ids."""
        wrap = self.admin_site.admin_view
        ours = [
            path(
                "<path:object_id>/download/<slug:what>/",
                wrap(require_GET(self.download_view)),
                name="taskqueue_task_download",
            ),
            path(
                "<path:object_id>/edit/",
                wrap(require_http_methods(["GET", "HEAD", "POST"])(self.edit_view)),
                name="taskqueue_task_edit",
            ),
        ]
        urls: list[URLPattern] = ours + super().get_urls()  # type: ignore[misc]  # a ModelAdmin's
        return urls

    def download_view(self: Any, request: HttpRequest, object_id: str, what: str) -> HttpResponse:
        """A payload, a result, or a step's input, output or log, as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        text = stored(object_id, what, Rights(request.user))
        if text is None:
            return HttpResponseNotFound("There is nothing of that name.")
        # Not as the address writes the id, which may have signs in it that no header can hold.
        name = f"task-{UUID(object_id)}-{what}.json"
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return HttpResponse(text, content_type="application/json", headers=disposition)

    def edit_view(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form for a rerun with another payload; on a mistake it comes back with everything that was typed."""
        if not self.rights(request).rerun:
            raise PermissionDenied
        try:
            task = task_queries.find(UUID(object_id))
        except (ValueError, TaskNotFound):
            missing: HttpResponse = self.not_found(request, object_id)
            return missing
        if not self.rights(request, pipeline=task.pipeline_id).rerun:
            raise PermissionDenied(f"You may not run tasks of pipeline {task.pipeline_id!r}.")
        if not redaction.is_whole(task, Rights(request.user).visibility(task.pipeline_id)):
            raise PermissionDenied("You may not see the whole payload, so you cannot edit it.")
        form = RerunForm(task, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid() and "check" not in request.POST:
            copy = form.attempt(partial(self.rerun_with, task, request))
            if copy is not None:
                self.message_user(request, "This is a new task from the edited payload.")
                return HttpResponseRedirect(reverse("admin:taskqueue_task_change", args=[copy.pk]))
        page: HttpResponse = self.edit_page(request, task, form)
        return page

    def rerun_with(self, task: Task, request: HttpRequest, payload: Any) -> Task:
        """Make the new task, on the record of the user."""
        return audited.rerun(task.pk, actor=actor_of(request), payload=payload)

    def edit_page(self: Any, request: HttpRequest, task: Task, form: RerunForm) -> HttpResponse:
        """The form's page."""
        title = f"Edit and rerun {task.pipeline_id} {task.key}".strip()
        context = {
            "task": task,
            "shown_original": formats.excerpt(form.original),
            "form": form,
            "repetition": repeats.of_rerun(task),
            "is_checked": request.method == "POST" and not form.faults,
        }
        return framed(self, request, "task/rerun.html", title, context)


def stored(object_id: str, what: str, rights: Rights) -> str | None:
    """The JSON text that is stored under a name, as its viewer may see it; None when there is none."""
    column, _, row = what.partition("-")
    is_of_step = column in {"input", "output", "logs"} and row.isdecimal() and len(row) <= 18
    if what not in {"payload", "result"} and not is_of_step:
        return None
    try:
        task_id = UUID(object_id)
        visibility = rights.visibility(task_queries.pipeline_of(task_id))
    except (ValueError, TaskNotFound):
        return None
    if visibility != Visibility.FULL or (is_of_step and has_closed_step(task_id, int(row), rights)):
        return page_redaction.stored(task_id, what, rights)
    if what in {"payload", "result"}:
        tasks = Task.objects.filter(pk=task_id)
        return tasks.annotate(text=text_of(what)).values_list("text", flat=True).first()
    steps = Step.objects.filter(task=task_id, pk=int(row))
    return steps.annotate(text=text_of(column)).values_list("text", flat=True).first()


def has_closed_step(task_id: UUID, row: int, rights: Rights) -> bool:
    """Whether a step of a task is a child of a pipeline that is closed to the viewer."""
    step = Step.objects.filter(task=task_id, pk=row).only("kind", "name").first()
    return step is not None and redaction.is_closed(step, rights)
