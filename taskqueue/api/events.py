"""Events: send one, list them, get one with its effects."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.urls import reverse
from django.utils.decorators import method_decorator
from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, has_permissions, pipeline_permissions_of
from taskqueue.api.fields import Moment, Text
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import idempotency_key, location, operation
from taskqueue.api.pagination import PageQuery, between, keyset_page
from taskqueue.api.requests import Body, agreed_key
from taskqueue.api.serializers import Paged, SkipRecord, Time
from taskqueue.api.views import ApiView
from taskqueue.engine.access import redaction
from taskqueue.engine.actions.events import send_event
from taskqueue.engine.events import send
from taskqueue.models import Event
from taskqueue.policies import EVENT_NAME_MAX


class EventSubmission(Body):
    """An event to send."""

    name: str = Field(
        min_length=1, max_length=EVENT_NAME_MAX, description="The event's name, printable and without spaces."
    )
    data: dict[str, Any] = Field(default_factory=dict, description="The event's data.")
    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=send.ID_MAX_LENGTH,
        description="The sender's own id. An event with an id that was used in the last 24 hours is not sent again.",
    )


class EventQuery(PageQuery):
    """Filters and page of the list of events."""

    name: Text = Field(default="", min_length=1, max_length=200, description="Events with this name.")
    received_after: Moment | None = Field(default=None, description="Events received after this time.")
    received_before: Moment | None = Field(default=None, description="Events received before this time.")


class StartedTask(serializers.Serializer[Any]):
    """A task that an event started."""

    id = serializers.UUIDField()
    pipeline = serializers.CharField(source="pipeline_id")


class ResolvedWait(serializers.Serializer[Any]):
    """A wait that an event resolved."""

    task = serializers.UUIDField(source="task_id")
    step = serializers.CharField(source="step_key")


class EventSummary(serializers.Serializer[Any]):
    """An event."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    external_id = serializers.CharField(allow_blank=True, help_text="The sender's own id, or empty.")
    data = serializers.JSONField(  # type: ignore[assignment]  # DRF takes declared fields out of the class again
        help_text="In a completion event payload and result are masked for callers who may not see them, secrets "
        "always."
    )
    source = serializers.UUIDField(  # type: ignore[assignment]  # as above
        source="source_id", allow_null=True, help_text="The task that sent it."
    )
    received_at = Time()
    routed_at = Time(allow_null=True, help_text="When the event was routed; null shortly after it was received.")


class EventDetail(EventSummary):
    """An event and its effects."""

    tasks = StartedTask(many=True, source="started_tasks", help_text="The tasks that it started.")
    waits = ResolvedWait(many=True, source="ended_waits", help_text="The waits that it resolved.")
    cancelled = serializers.ListField(
        child=serializers.UUIDField(), source="cancelled_tasks", help_text="The tasks that it cancelled."
    )
    skips = SkipRecord(
        many=True,
        source="skipped",
        help_text="The pipelines that it did not start, or has not started yet (`deferred`), with the reason.",
    )


class SentEvent(EventDetail):
    """A new event, or an existing one with the sender's id."""

    duplicate = serializers.BooleanField(help_text="Whether an event with this id was sent before.")


class EventPage(Paged):
    """Events, newest first."""

    events = EventSummary(many=True, source="rows")


# Not in one transaction for each request: an event is routed after its commit, and the answer holds the effects.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class EventListView(ApiView):
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
        sent = send_event(
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
        query = EventQuery.of(request.query_params)
        events = Event.objects.order_by("-id")
        if query.name:
            events = events.filter(name=query.name)
        page = keyset_page(between(events, "received_at", query.received_after, query.received_before), query)
        permissions = pipeline_permissions_of(request)
        permissions.load_all()
        for event in page.rows:
            redaction.redact_event(event, permissions)
        return Response(EventPage(page).data)


class EventDetailView(ApiView):
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
