"""Rerun a task with an edited payload: the view, and the form with JSON text and a field per secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.messages import INFO
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from taskqueue import masks
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.links import page_url
from taskqueue.admin.shared.pages import admin_page, redirect
from taskqueue.admin.shared.task_actions import actor_of
from taskqueue.admin.task import repeated_steps
from taskqueue.admin.task.actions import allowed_actions, require, task_not_found
from taskqueue.definitions import registry
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks import control
from taskqueue.errors import FieldError, InvalidValue, TaskNotFound, TaskqueueError
from taskqueue.forms import form_secrets
from taskqueue.forms.form_values import parse_json
from taskqueue.json_pointers import pointer_to
from taskqueue.models import Task


def edit_view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    require(admin, request, "rerun")
    try:
        task = tasks.find(UUID(object_id))
    except (ValueError, TaskNotFound):
        return task_not_found(admin, request, object_id)
    if "rerun" not in allowed_actions(admin, request, pipeline=task.pipeline_id):
        raise PermissionDenied(f"You may not run tasks of pipeline {task.pipeline_id!r}.")
    if not redaction.is_payload_visible(task, CallerPermissions(request.user).visibility(task.pipeline_id)):
        raise PermissionDenied("You may not see the whole payload, so you cannot edit it.")
    form = RerunForm(task, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and "check" not in request.POST:
        copy = form.attempt(lambda payload: control.rerun(task.pk, actor=actor_of(request), payload=payload))
        if copy is not None:
            return redirect(
                admin, request, page_url("task", copy.pk), "This is a new task with the edited payload.", INFO
            )
    return form_page(admin, request, task, form)


def form_page(admin: Any, request: HttpRequest, task: Task, form: RerunForm) -> HttpResponse:
    title = f"Edit and rerun {task.pipeline_id} {task.key}".strip()
    context = {
        "task": task,
        "original_payload": formats.excerpt(form.original),
        "form": form,
        "repeated": repeated_steps.of_rerun(task),
        "is_valid": request.method == "POST" and not form.errors,
    }
    return admin_page(admin, request, "task/rerun.html", title, context)


@dataclass(frozen=True)
class SecretField:
    """A field for a secret of the original payload; left empty, it keeps the original value. Only text is not JSON."""

    name: str
    pointer: str
    typed: str
    is_text: bool

    @property
    def value(self) -> Any:
        return self.typed if self.is_text else parse_json(self.typed)


class RerunForm:
    """A payload as editable text.

    Attributes:
        text: the payload without its secrets.
        secrets: a field for each secret, by its path.
        errors: with JSON pointers; set by `is_valid` and `attempt`.
        payload: the parsed payload with its secrets, after `is_valid`.
    """

    def __init__(self, task: Task, sent: Mapping[str, str] | None) -> None:
        self.task = task
        self.original, self._secrets = form_secrets.split_secrets(
            task.payload, *redaction.schemas_of(task.pipeline_id)[0]
        )
        self.text = json.dumps(self.original, indent=2, ensure_ascii=False) if sent is None else sent.get("payload", "")
        self.secrets = {path: secret_field(path, secret, sent or {}) for path, secret in self._secrets.items()}
        self.errors: list[FieldError] = []
        self.payload: Any = None

    def is_valid(self) -> bool:
        """Parse the payload and validate it by the pipeline's schema; fills `errors`."""
        try:
            self.payload = parse_json(self.text)
        except ValueError as error:
            self.errors = [FieldError("", str(error))]
            return False
        return self._put_secrets_back() and self.attempt(self._check) is not None

    def attempt(self, use: Callable[[Any], Any]) -> Any:
        """Call `use` with the payload; if the engine refuses it, fill `errors` and return None."""
        try:
            return use(self.payload)
        except TaskqueueError as error:
            self.errors = list(error.errors) if isinstance(error, InvalidValue) else [FieldError("", error.detail)]
            return None

    def _put_secrets_back(self) -> bool:
        secrets = {}
        for path, field in self.secrets.items():
            try:
                secrets[path] = field.value if field.typed else self._secrets[path]
            except ValueError as error:
                self.errors.append(FieldError(field.pointer, str(error)))
        if () in secrets:
            self.payload = secrets[()] if self.payload is None else self.payload
        for path in form_secrets.restore_secrets(self.payload, self.original, secrets):
            message = "The list item of this secret was edited. Write the secret into the payload, or undo the edit."
            self.errors.append(FieldError(pointer_to(path), message))
        return not self.errors

    def _check(self, payload: Any) -> str:
        return registry.get(self.task.pipeline_id).payload.check(payload)


def secret_field(path: masks.Path, secret: Any, sent: Mapping[str, str]) -> SecretField:
    pointer = pointer_to(path)
    return SecretField(f"secret{pointer}", pointer, sent.get(f"secret{pointer}", ""), isinstance(secret, str))
