"""How the doors of events are described in the OpenAPI schema."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from taskqueue.api import event_serializers as serializers
from taskqueue.api.openapi.operations import READING, WRITING, answers, body_of, query_of
from taskqueue.api.parameters import EventQuery
from taskqueue.api.requests import EventSubmission
from taskqueue.engine.events.send import ID_MAX_LENGTH

EVENT_ID: Final = OpenApiParameter(
    "event_id", {"type": "string", "format": "uuid"}, OpenApiParameter.PATH, description="The event's id."
)
LOCATION: Final = OpenApiParameter(
    "Location",
    {"type": "string", "format": "uri-reference"},
    OpenApiParameter.HEADER,
    description="The event's address.",
    response=[200, 202],
)
IDEMPOTENCY_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": ID_MAX_LENGTH, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="The same as `id` in the body, plain or quoted. When both are given they must be equal.",
)
SEND_EVENT: Final[dict[str, Any]] = {
    "operation_id": "sendEvent",
    "summary": "Send an event",
    "description": "It starts the pipelines that listen for it, ends the waits that it fits, and cancels the tasks "
    "that it names; the answer tells which. The same `id` within 24 hours is the same event, answered with 200; with "
    "another name or other data it is refused.",
    "tags": ["events"],
    "parameters": [IDEMPOTENCY_KEY, LOCATION],
    "request": body_of(EventSubmission),
    "responses": answers(
        tuple(status for status in WRITING if status != 404),
        {
            202: OpenApiResponse(serializers.SentEvent, description="It was sent."),
            200: OpenApiResponse(
                serializers.SentEvent,
                description="Its id stands for this event already. What it said and what came of it is left out for "
                "callers without `view_event`.",
            ),
        },
    ),
}
LIST_EVENTS: Final[dict[str, Any]] = {
    "operation_id": "listEvents",
    "summary": "List events",
    "description": "Newest first. Pages follow each other by cursors and stay where they are while new events arrive.",
    "tags": ["events"],
    "parameters": query_of(EventQuery),
    "responses": answers(
        tuple(status for status in READING if status != 404),
        {200: OpenApiResponse(serializers.EventPage, description="The events.")},
    ),
}
GET_EVENT: Final[dict[str, Any]] = {
    "operation_id": "getEvent",
    "summary": "Get an event and its effects",
    "description": "The tasks that it started and cancelled, the waits that it ended, and what it did not start, with "
    "the reason. Of each the first thousand.",
    "tags": ["events"],
    "parameters": [EVENT_ID],
    "responses": answers(
        tuple(status for status in READING if status != 400),
        {200: OpenApiResponse(serializers.EventDetail, description="The event.")},
    ),
}
