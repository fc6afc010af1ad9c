"""Export the filtered task list as CSV or JSON lines, streamed with one query per thousand tasks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from taskqueue.admin.search.parameters import list_params_of
from taskqueue.admin.shared.links import list_url, view_url
from taskqueue.admin.shared.pages import redirect
from taskqueue.conf import settings
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.queries import filters
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.runtime.locks import limit_statement_time
from taskqueue.models import Task

CHUNK_SIZE = 1_000
MAX_ROWS = 100_000

Row = dict[str, Any]

COLUMNS = (
    "id", "pipeline", "status", "key", "labels", "priority", "steps_done", "failed_attempts", "error_type",
    "error_message", "created_at", "started_at", "finished_at", "due_at",
)  # fmt: skip
PRIVATE = ("payload", "result")
"""Only for users who may view payloads; masked for pipelines that they may not view."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""A spreadsheet runs a cell that begins with one of these as a formula."""


def export_view(admin: Any, request: HttpRequest, file_format: str) -> HttpResponseBase:
    if not admin.has_view_permission(request):
        raise PermissionDenied
    if file_format not in WRITERS:
        return HttpResponse(status=404)
    rights = CallerPermissions(request.user)
    try:
        list_params = list_params_of(request.GET.dict(), rights)
    except IncorrectLookupParameters:
        message = "Not exported: a filter has an invalid value."
        return redirect(admin, request, list_url("task"), message, messages.ERROR)
    if list_params.error:
        return redirect(admin, request, list_url("task"), f"Not exported. {list_params.error}", messages.ERROR)
    content_type, writer = WRITERS[file_format]
    now = filters.database_now()
    columns = COLUMNS + PRIVATE if rights.has_permission(Action.VIEW_PAYLOAD) else COLUMNS
    rows = rows_of(list_params.task_filter.with_absolute_times(now), columns, rights)
    response = StreamingHttpResponse(writer(columns, rows), content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="tasks-{now:%Y%m%dT%H%M%SZ}.{file_format}"'
    return response


def links() -> list[dict[str, Any]]:
    return [
        {"label": label, "max_rows": f"{MAX_ROWS:,}", "address": view_url("task", "export", file_format)}
        for file_format, label in (("csv", "CSV"), ("jsonl", "JSON lines"))
    ]


def rows_of(task_filter: TaskFilter, columns: Iterable[str], rights: CallerPermissions) -> Iterator[Row]:
    """The tasks as rows, newest first. No transaction stays open between two chunks."""
    written = 0
    rights.load_all()
    chunks = filters.chunks_of(task_filter, size=CHUNK_SIZE)
    while written < MAX_ROWS:
        with transaction.atomic():
            limit_statement_time(settings().DASHBOARD_TIMEOUT)
            ids = next(chunks, [])
            tasks = list(tasks_of(ids, with_payload="payload" in columns)) if ids else []
        for task in tasks[: MAX_ROWS - written]:
            if "payload" in columns:
                task.drift = None  # not read; redaction would load it
                redaction.redact_rows(task, [], [], rights.visibility(task.pipeline_id))
            yield {name: VALUES[name](task) for name in columns}
        written += len(tasks)
        if len(ids) < CHUNK_SIZE:
            return


def tasks_of(ids: list[Any], *, with_payload: bool) -> Iterable[Task]:
    tasks = task_queries.with_counts(Task.objects.filter(pk__in=ids).order_by("-pk"))
    return tasks.defer("drift") if with_payload else tasks.defer("payload", "result", "drift")


def error_field(name: str) -> Callable[[Any], str]:
    return lambda task: str((task.error or {}).get(name, ""))


def time_field(name: str) -> Callable[[Any], str | None]:

    def read(task: Any) -> str | None:
        when = getattr(task, name)
        return None if when is None else when.isoformat().replace("+00:00", "Z")

    return read


VALUES: dict[str, Callable[[Any], Any]] = {
    "id": lambda task: str(task.pk),
    "pipeline": attrgetter("pipeline_id"),
    "failed_attempts": attrgetter("failed_attempt_count"),
    "error_type": error_field("type"),
    "error_message": error_field("message"),
    **{name: attrgetter(name) for name in ("status", "key", "labels", "priority", "steps_done", "payload", "result")},
    **{name: time_field(name) for name in ("created_at", "started_at", "finished_at", "due_at")},
}


class LineBuffer:
    """A file for `csv.writer` that returns each line instead of writing it."""

    def write(self, line: str) -> str:
        return line


def as_csv(columns: tuple[str, ...], rows: Iterable[Row]) -> Iterator[str]:
    """Lines of CSV; a byte order mark tells spreadsheets that the file is UTF-8."""
    writer = csv.writer(LineBuffer())
    yield "\ufeff"
    yield str(writer.writerow(columns))
    for row in rows:
        yield str(writer.writerow([cell_of(row[name]) for name in columns]))


def cell_of(value: Any) -> str:
    """A value as a cell; text that a spreadsheet would run as a formula gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text


def as_json_lines(_columns: tuple[str, ...], rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


WRITERS: dict[str, tuple[str, Callable[[tuple[str, ...], Iterable[Row]], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "jsonl": ("application/jsonl; charset=utf-8", as_json_lines),
}
