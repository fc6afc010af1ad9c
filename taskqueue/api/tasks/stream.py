"""`GET /api/tasks/{id}/stream`: what happens to a task, as server-sent events. It needs ASGI."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from django.contrib.auth import get_user
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from taskqueue import masks
from taskqueue.api import problems
from taskqueue.api.authentication import RequiredPermissions, pipeline_permissions_of
from taskqueue.api.openapi.operations import REFUSALS, operation
from taskqueue.api.openapi.refusals import ASGI_REQUIRED
from taskqueue.api.problems import Kind, Refusal
from taskqueue.api.serializers import Problem
from taskqueue.api.tasks.asgi import AsgiEndpoint, in_status_thread, release_thread
from taskqueue.api.tasks.serializers import EVENT_DATA
from taskqueue.api.views import ApiView, JsonOnly
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Visibility
from taskqueue.engine.queries import tasks
from taskqueue.engine.streams.changes import Changes, Event, read_one
from taskqueue.engine.streams.position import Position
from taskqueue.engine.streams.watch import watch
from taskqueue.masks import MASK

MEDIA_TYPE: Final = "text/event-stream"
KEEP_ALIVE: Final = 15.0
"""Seconds without an event after which a comment is sent, and after which the caller's access is checked again."""
RETRY_MILLISECONDS: Final = 2_000
LAST_EVENT_ID: Final = OpenApiParameter(
    "Last-Event-ID",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="The id of the last event that the caller has received: the stream goes on after it.",
)
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""No proxy keeps events back."""


class EventsOrJson(JsonOnly):
    """Answers are events, and refusals are problems."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        if "text/" in request.META.get("HTTP_ACCEPT", ""):
            return renderers[0], renderers[0].media_type
        return super().select_renderer(request, renderers, format_suffix)


# Never in a transaction: an open one during the stream would hold back VACUUM.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TaskStreamView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_task",)}
    content_negotiation_class = EventsOrJson
    streams_in_event_loop = False
    """Whether `stream_async` around this view sends the events."""
    position: Position | None = None
    """Where the stream begins; None for a request that gets no stream."""
    pipeline = ""
    visibility = Visibility.NONE

    @operation(
        "streamTask",
        "Follow a task",
        "Server-sent events whose data is JSON. `status`, `progress`, and `end` when the task has ended: `id`, "
        "`pipeline`, `status`, `progress`, `progress_note`, `current_step`, `created_at`, `started_at`, "
        "`finished_at`, `next_run_at` and `error`, as in the task's status. `log`, for each line that a step logs: "
        "`step`, `line` (its number in the attempt), `after_ms`, `level`, `logger` and `text`. `chunk`, for what a "
        "step writes: `step`, `attempt`, `execution` (with a higher one, what the step wrote before is void), "
        "`text`, and `is_cut` (what follows is missing). After `end` the stream closes. It begins with all that "
        "has happened so far. After a lost connection send the last event's id as `Last-Event-ID`; after `end` the "
        "answer is 204.",
        tag="tasks",
        success={
            (200, MEDIA_TYPE): (OpenApiTypes.STR, "The events, as they happen."),
            204: (None, "The caller has seen the end."),
            **{(status, problems.MEDIA_TYPE): (Problem, REFUSALS[status]) for status in (400, 501)},
        },
        headers=(LAST_EVENT_ID,),
    )
    def get(self, request: Request, task_id: UUID) -> HttpResponseBase:
        position = position_of(request)
        if not self.streams_in_event_loop:
            raise Refusal(Kind.ASGI_REQUIRED, ASGI_REQUIRED)
        state = read_one(task_id, position)
        self.pipeline = state.pipeline
        self.visibility = pipeline_permissions_of(request).visibility(self.pipeline)
        if position.is_end and Changes.since(position, state).is_nothing:
            return HttpResponse(status=204)
        if request.method == "GET":
            self.position = position
        return HttpResponse(content_type=MEDIA_TYPE, headers=HEADERS)

    def first_response(self, request: HttpRequest, task_id: UUID) -> HttpResponseBase:
        """Authenticate and check the request as the plain view does."""
        self.setup(request, task_id=task_id)
        return self.dispatch(request, task_id=task_id)

    def is_still_allowed(self) -> bool:
        """Check the caller again: the token may have been revoked, or a permission taken away."""
        original = self.request._request
        if hasattr(original, "session"):
            original.session = type(original.session)(original.session.session_key)
            original.user = get_user(original)
        request = self.initialize_request(original)
        with suppress(APIException):
            if RequiredPermissions().has_permission(request, self):
                self.visibility = pipeline_permissions_of(request).visibility(self.pipeline)
                return True
        return False

    def texts(self, task_id: UUID, events: Sequence[Event]) -> list[str]:
        """The events as they are sent, with as much as the caller may see."""
        secrets: list[str] = []
        if self.visibility == Visibility.REDACTED and any(event.name == "log" for event in events):
            task: Any = tasks.find(task_id)
            secrets = redaction.redact_rows(task, tasks.steps_of(task), [], self.visibility)
        return [text_of(event, task_id, redacted(event, self.visibility, secrets)) for event in events]


def position_of(request: Request) -> Position:
    try:
        return Position.parse(request.headers.get("Last-Event-ID", "").strip())
    except ValueError as error:
        detail = f"Last-Event-ID is not valid: {error}. Leave it out to begin at the beginning."
        raise Refusal(Kind.MALFORMED_REQUEST, detail) from error


def redacted(event: Event, visibility: Visibility, secrets: Sequence[str]) -> dict[str, Any]:
    """The data of an event as its caller may see it. A chunk cannot be searched: a secret may be in two of them."""
    if event.name not in ("chunk", "log") or visibility == Visibility.FULL:
        return event.data
    if visibility == Visibility.NONE or event.is_secret:
        return {**event.data, "text": MASK}
    return {**event.data, "text": masks.hidden(event.data["text"], secrets)} if event.name == "log" else event.data


def text_of(event: Event, task_id: UUID, data: dict[str, Any]) -> str:
    body = EVENT_DATA[event.name].to_representation({"id": task_id, **data})
    return f"event: {event.name}\nid: {event.position}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"


async def stream_async(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """`TaskStreamView` under ASGI: an open stream uses neither a thread nor a connection."""
    view = TaskStreamView(streams_in_event_loop=True)
    response = await in_status_thread(view.first_response, request, task_id)
    if view.position is None:
        return response
    release_thread()
    return StreamingHttpResponse(sent_events(view, task_id, view.position), content_type=MEDIA_TYPE, headers=HEADERS)


async def sent_events(view: TaskStreamView, task_id: UUID, position: Position) -> AsyncIterator[str]:
    """The events of a task after a position, and a comment now and then, until its end or the end of the access."""
    loop, batches = asyncio.get_running_loop(), asyncio.Queue[tuple[list[Event], bool]]()

    def on_events(events: list[Event], is_end: bool) -> None:  # noqa: FBT001 - a callback
        with suppress(RuntimeError):  # the event loop is closed: the server stops
            loop.call_soon_threadsafe(batches.put_nowait, (events, is_end))

    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    checked_at, is_end = time.monotonic(), False
    with watch.follow(task_id, position, on_events) as request_next:
        request_next()
        while not is_end:
            with suppress(TimeoutError):
                events, is_end = await asyncio.wait_for(batches.get(), KEEP_ALIVE)
                for text in await texts_of(view, task_id, events):
                    yield text
                request_next()
                if is_end or time.monotonic() - checked_at < KEEP_ALIVE:
                    continue
            if not await in_status_thread(view.is_still_allowed):
                return
            checked_at = time.monotonic()
            yield ": keep-alive\n\n"


async def texts_of(view: TaskStreamView, task_id: UUID, events: list[Event]) -> list[str]:
    if view.visibility == Visibility.REDACTED:  # may query
        return await in_status_thread(view.texts, task_id, events)
    return view.texts(task_id, events)


task_stream = AsgiEndpoint(TaskStreamView.as_view(), stream_async)
