"""The filtered list as a file: CSV or JSON lines, written while it is read, a thousand tasks a query."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_safe

from taskqueue.admin.search.parameters import list_params_of
from taskqueue.conf import settings
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.queries import filters
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.runtime.locks import bound_reads
from taskqueue.models import Task

CHUNK = 1_000
MOST = 100_000
"""Rows of one file; the list says so."""

Row = dict[str, Any]

COLUMNS = (
    "id", "pipeline", "status", "key", "labels", "priority", "steps_done", "failed_attempts", "error_type",
    "error_message", "created_at", "started_at", "finished_at", "due_at",
)  # fmt: skip
PRIVATE = ("payload", "result")
"""Only for those who may see payloads; of pipelines that are closed to them, masks."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With these a spreadsheet takes a text for a formula, and runs it."""


class Exports:
    """The addresses of the files, for `TaskAdmin`."""

    admin_site: Any
    message_user: Any
    has_view_permission: Any

    def get_urls(self) -> list[URLPattern]:
        """Before the stock ones, which would take them for ids."""
        ours = [
            path(
                "export/<str:form>/",
                self.admin_site.admin_view(require_safe(self.export_view)),
                name="taskqueue_task_export",
            )
        ]
        return [*ours, *super().get_urls()]  # type: ignore[misc]  # ModelAdmin comes after this class

    def export_view(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """The file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if form not in WRITERS:
            return HttpResponse(status=404)
        rights = Rights(request.user)
        try:
            asked = list_params_of(request.GET.dict(), rights)
        except IncorrectLookupParameters:
            return self.refuse(request, "It was not exported: a filter has a value that it cannot have.")
        if asked.fault:
            return self.refuse(request, f"It was not exported. {asked.fault}")
        kind, writer = WRITERS[form]
        now = filters.database_now()
        columns = COLUMNS + PRIVATE if rights.has(Action.VIEW_PAYLOAD) else COLUMNS
        rows = rows_of(asked.selection.frozen(now), columns, rights)
        response = StreamingHttpResponse(writer(columns, rows), content_type=kind)
        response["Content-Disposition"] = f'attachment; filename="tasks-{now:%Y%m%dT%H%M%SZ}.{form}"'
        return response

    def refuse(self, request: HttpRequest, sentence: str) -> HttpResponse:
        """Say why there is no file, on the list."""
        self.message_user(request, sentence, messages.ERROR)
        return HttpResponseRedirect(reverse("admin:taskqueue_task_changelist"))


def ways() -> list[dict[str, Any]]:
    """The ways to the files."""
    names = {"csv": "CSV", "jsonl": "JSON lines"}
    return [
        {"label": label, "most": f"{MOST:,}", "address": reverse("admin:taskqueue_task_export", args=[form])}
        for form, label in names.items()
    ]


def rows_of(selection: TaskFilter, columns: Iterable[str], rights: Rights) -> Iterator[Row]:
    """The tasks, newest first, each as its columns. Between two chunks nothing is held open."""
    written = 0
    rights.know_all()
    chunks = filters.chunks_of(selection, size=CHUNK)
    while written < MOST:
        with transaction.atomic():
            bound_reads(settings().DASHBOARD_TIMEOUT)
            ids = next(chunks, [])
            tasks = list(tasks_of(ids, with_payload="payload" in columns)) if ids else []
        for task in tasks[: MOST - written]:
            if "payload" in columns:
                task.drift = None  # was not read
                redaction.cover_rows(task, [], [], rights.visibility(task.pipeline_id))
            yield {name: VALUES[name](task) for name in columns}
        written += len(tasks)
        if len(ids) < CHUNK:
            return


def tasks_of(ids: list[Any], *, with_payload: bool) -> Iterable[Task]:
    """The rows of a chunk."""
    tasks = task_queries.with_counts(Task.objects.filter(pk__in=ids).order_by("-pk"))
    return tasks.defer("drift") if with_payload else tasks.defer("payload", "result", "drift")


def of_error(name: str) -> Callable[[Any], str]:
    """A part of a task's error."""
    return lambda task: str((task.error or {}).get(name, ""))


def moment(name: str) -> Callable[[Any], str | None]:
    """A time in ISO 8601."""

    def read(task: Any) -> str | None:
        when = getattr(task, name)
        return None if when is None else when.isoformat().replace("+00:00", "Z")

    return read


VALUES: dict[str, Callable[[Any], Any]] = {
    "id": lambda task: str(task.pk),
    "pipeline": lambda task: task.pipeline_id,
    "status": lambda task: task.status,
    "key": lambda task: task.key,
    "labels": lambda task: task.labels,
    "priority": lambda task: task.priority,
    "steps_done": lambda task: task.steps_done,
    "failed_attempts": lambda task: task.tries,
    "error_type": of_error("type"),
    "error_message": of_error("message"),
    **{name: moment(name) for name in ("created_at", "started_at", "finished_at", "due_at")},
    "payload": lambda task: task.payload,
    "result": lambda task: task.result,
}


class Echo:
    """What a CSV writer writes to: it hands each line back."""

    def write(self, line: str) -> str:
        """The line."""
        return line


def as_csv(columns: tuple[str, ...], rows: Iterable[Row]) -> Iterator[str]:
    """Lines of CSV, after a mark by which spreadsheets know UTF-8."""
    writer = csv.writer(Echo())
    yield "\ufeff"
    yield str(writer.writerow(columns))
    for row in rows:
        yield str(writer.writerow([cell_of(row[name]) for name in columns]))


def cell_of(value: Any) -> str:
    """A value as a cell. A text that a spreadsheet would run begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def as_json_lines(_columns: tuple[str, ...], rows: Iterable[Row]) -> Iterator[str]:
    """Lines of JSON."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


WRITERS: dict[str, tuple[str, Callable[[tuple[str, ...], Iterable[Row]], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "jsonl": ("application/jsonl; charset=utf-8", as_json_lines),
}
