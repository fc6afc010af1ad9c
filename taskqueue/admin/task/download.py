"""Download a payload, a result, or a step's input, output or log as JSON: what is too long for the task's page."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound

from taskqueue.admin.task.queries import text_of
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import CallerPermissions, Visibility
from taskqueue.engine.queries import tasks
from taskqueue.errors import TaskNotFound
from taskqueue.models import Step, Task


def download_view(admin: Any, request: HttpRequest, object_id: str, what: str) -> HttpResponse:
    """Send a value as a file: `payload`, `result`, or `input-`, `output-` or `logs-` with a step's primary key."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    text = visible_json(object_id, what, CallerPermissions(request.user))
    if text is None:
        return HttpResponseNotFound("There is no such value.")
    # The id as the URL writes it may contain characters that no header can hold.
    name = f"task-{UUID(object_id)}-{what}.json"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="application/json", headers=disposition)


def visible_json(object_id: str, what: str, rights: CallerPermissions) -> str | None:
    """The JSON text of a value as the user may see it; None when there is none."""
    column, _, step = what.partition("-")
    is_of_step = column in {"input", "output", "logs"} and step.isdecimal() and len(step) <= 18
    if what not in {"payload", "result"} and not is_of_step:
        return None
    try:
        task_id = UUID(object_id)
        visibility = rights.visibility(tasks.pipeline_of(task_id))
    except (ValueError, TaskNotFound):
        return None
    if visibility != Visibility.FULL or (is_of_step and is_closed_step(task_id, int(step), rights)):
        return redacted_json(task_id, what, rights)
    rows: Any = Step.objects.filter(task=task_id, pk=int(step)) if is_of_step else Task.objects.filter(pk=task_id)
    text: str | None = rows.annotate(text=text_of(column)).values_list("text", flat=True).first()
    return text


def is_closed_step(task_id: UUID, pk: int, rights: CallerPermissions) -> bool:
    """Whether a step is a child of a pipeline that the user may not see."""
    step = Step.objects.filter(task=task_id, pk=pk).only("kind", "name").first()
    return step is not None and redaction.is_hidden_child(step, rights)


def redacted_json(task_id: UUID, what: str, rights: CallerPermissions) -> str | None:
    """The JSON text of a value after redaction of the whole task. Raises TaskNotFound."""
    task = tasks.find(task_id)
    column, _, pk = what.partition("-")
    steps = tasks.steps_of(task)
    redaction.redact_rows(task, steps, [], rights.visibility(task.pipeline_id))
    redaction.redact_children(task, steps, rights)
    if what in {"payload", "result"}:
        value = getattr(task, what)
    else:
        value = next((getattr(step, column) for step in steps if str(step.pk) == pk), None)
    return None if value is None else json.dumps(value, ensure_ascii=False)
