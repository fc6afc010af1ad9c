"""Events: send one, list them, get one with its effects."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.urls import reverse
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, has_permissions, pipeline_permissions_of
from taskqueue.api.event_serializers import EventDetail, EventPage, SentEvent
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import idempotency_key, location, operation
from taskqueue.api.pagination import event_page
from taskqueue.api.parameters import EventQuery
from taskqueue.api.requests import EventSubmission, agreed_key
from taskqueue.api.views import ApiView
from taskqueue.engine.access import redaction
from taskqueue.engine.actions import submissions
from taskqueue.engine.events import send


# Not in one transaction for each request: an event is routed after its commit, and the answer holds the effects.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class EventListView(ApiView):
    """All events."""

    required_permissions = {"GET": ("taskqueue.view_event",), "POST": ("taskqueue.add_event",)}
    pointer_overrides = {errors.TooLarge: "/data", errors.NotSerializable: "/data", errors.KeyReused: "/id"}

    @operation(
        "sendEvent",
        "Send an event",
        "Starts the pipelines that this event triggers, resolves the waits that it matches, and cancels tasks by "
        "`cancel_on`; the answer lists them. The same `id` within 24 hours is the same event and is answered with 200. "
        "The same `id` with another name or other data is refused.",
        tag="events",
        success={
            202: (SentEvent, "The event was sent."),
            200: (
                SentEvent,
                "An event with this id was sent before. Its data and effects are left out for callers without "
                "`view_event`.",
            ),
        },
        body=EventSubmission,
        headers=(idempotency_key("id", max_length=send.ID_MAX_LENGTH), location("event", 200, 202)),
    )
    def post(self, request: Request) -> Response:
        submission = parse_body(EventSubmission, request.data)
        external_id = agreed_key(submission.id, request.headers.get("Idempotency-Key"), field="id") or ""
        sent = submissions.send_event(
            submission.name,
            submission.data,
            external_id=external_id,
            actor=actor_of(request),
            rights=pipeline_permissions_of(request),
        )
        sees_effects = not sent.duplicate or has_permissions(request, "taskqueue.view_event")
        event = send.find(sent.pk) if sees_effects else send.redacted(sent)
        event.duplicate = sent.duplicate
        address = reverse("taskqueue:event", args=[sent.pk])
        return Response(SentEvent(event).data, status=200 if sent.duplicate else 202, headers={"Location": address})

    @operation(
        "listEvents",
        "List events",
        "Newest first. Events that arrive while you page do not shift the pages.",
        tag="events",
        success={200: (EventPage, "A page of events.")},
        query=EventQuery,
    )
    def get(self, request: Request) -> Response:
        query: EventQuery = EventQuery.of(request.query_params)
        page, permissions = event_page(query), pipeline_permissions_of(request)
        permissions.load_all()
        for event in page.rows:
            redaction.redact_event(event, permissions)
        return Response(EventPage(page).data)


class EventDetailView(ApiView):
    """One event."""

    required_permissions = {"GET": ("taskqueue.view_event",)}

    @operation(
        "getEvent",
        "Get an event and its effects",
        "The tasks that the event started or cancelled, the waits that it resolved, and the pipelines that it did not "
        "start, with the reason. At most 1,000 of each.",
        tag="events",
        success={200: (EventDetail, "The event.")},
    )
    def get(self, request: Request, event_id: UUID) -> Response:
        event = send.find(event_id)
        redaction.redact_event(event, pipeline_permissions_of(request))
        return Response(EventDetail(event).data)
