"""Logs that name the task, step and request of each line: a filter, a JSON formatter, and a line for each request.

MIDDLEWARE = ["taskqueue.logs.RequestLog", ...]
LOGGING = {
    "formatters": {"json": {"()": "taskqueue.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}}, ...
}
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path

from taskqueue import context
from taskqueue.ids import uuid7

logger = logging.getLogger("taskqueue.requests")

HEADER: Final = "X-Request-ID"
TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""A caller's request id. Any other one is replaced, so that no caller can write lines or markup into the logs."""
TASKS_PER_LINE: Final = 100
PROBES: Final = frozenset(("taskqueue:live", "taskqueue:ready", "metrics"))
"""Requests that come every few seconds: they are logged at DEBUG while all is well."""

STANDARD: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "request", "server_time"))
"""Attributes of a record that are not its own `extra`; Django adds the last two."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The task and the request that this code runs for; empty outside of both."""
    fields: dict[str, Any] = {}
    if (task := context.current.get()) is not None:
        fields = {
            "task": str(task.id),
            "pipeline": task.pipeline,
            "step": context.current_step.get(),
            "attempt": task.attempt,
        }
    request = context.current_request.get()
    # Django logs an error's status when the request has passed all middleware, with the request.
    request_id = request.id if request is not None else getattr(getattr(record, "request", None), "request_id", "")
    return {**fields, "request_id": request_id} if request_id else fields


class TaskFields(logging.Filter):
    """Gives each record `task`, `pipeline`, `step`, `attempt` and `request_id`, empty where they do not apply.

    For any formatter. Put it on a handler, so that it sees the records of all loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        fields = fields_of(record)
        for name in ("task", "pipeline", "step", "attempt", "request_id"):
            if not hasattr(record, name):
                setattr(record, name, fields.get(name, ""))
        return True


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, with the fields of `TaskFields` and those that the call passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
            **{name: value for name, value in vars(record).items() if name not in STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps({name: value for name, value in line.items() if value != ""}, default=str)


class RequestLog:
    """Middleware that logs a line for each request, and gives it an id; first in MIDDLEWARE.

    The id is the caller's `X-Request-ID`, or a new one. The answer has it, and so have all lines that are logged while
    the request is answered. The request's own line names the tasks that it has created or been given. Never logged:
    the query, the body, the caller's token, and that of an answer link.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._answer_async(request)
        with logged(request) as answer:
            return answer(self.get_response(request))

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        with logged(request) as answer:
            return answer(await self.get_response(request))


@contextmanager
def logged(request: HttpRequest) -> Iterator[Callable[[HttpResponseBase], HttpResponseBase]]:
    """Make the request known to the logs; the value logs its answer, and returns it with the request's id."""
    given = request.headers.get(HEADER, "")
    traceparent = request.headers.get("traceparent", "")
    entry = context.RequestContext(
        given if REQUEST_ID.fullmatch(given) else str(uuid7()),
        traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else "",
    )
    vars(request)["request_id"] = entry.id
    started = time.monotonic()

    def answer(response: HttpResponseBase) -> HttpResponseBase:
        response.headers[HEADER] = entry.id
        log(request, response, entry, duration=time.monotonic() - started)
        return response

    token = context.current_request.set(entry)
    try:
        yield answer
    finally:
        context.current_request.reset(token)


def log(request: HttpRequest, response: HttpResponseBase, entry: context.RequestContext, *, duration: float) -> None:
    """Log the line of an answered request; more than one if it has more tasks than one line holds."""
    match = request.resolver_match
    is_probe = match is not None and match.view_name in PROBES and response.status_code < 400
    level = logging.DEBUG if is_probe else logging.INFO
    if not logger.isEnabledFor(level):
        return
    path, milliseconds = path_of(request), round(duration * 1000, 1)
    fields = {
        "method": request.method,
        "path": path,
        "status": response.status_code,
        "duration_ms": milliseconds,
        "token": getattr(getattr(request, "auth", None), "name", ""),
        "error": error_code(response),
    }
    for first in range(0, max(len(entry.tasks), 1), TASKS_PER_LINE):
        tasks = [str(task) for task in entry.tasks[first : first + TASKS_PER_LINE]]
        logger.log(
            level,
            "%s %s: %d in %s ms",
            request.method,
            path,
            response.status_code,
            milliseconds,
            extra={**fields, "tasks": tasks} if tasks else fields,
        )


def path_of(request: HttpRequest) -> str:
    """The path; of an answer link without the token, with which everyone who reads the logs could answer."""
    match, path = request.resolver_match, request.path
    token = match.kwargs.get("token") if match is not None else None
    return escape_uri_path(path.replace(token, "*") if token else path)


def error_code(response: HttpResponseBase) -> str:
    """The code of the problem that an answer of the API is; empty for other answers."""
    if response.headers.get("Content-Type") != "application/problem+json" or not isinstance(response, HttpResponse):
        return ""
    return str(json.loads(response.content)["code"])
