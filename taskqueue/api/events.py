"""Events: send one, list them, look at one."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.urls import reverse
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, may, rights_of
from taskqueue.api.event_serializers import EventDetail, EventPage, SentEvent
from taskqueue.api.json_parser import fitted
from taskqueue.api.openapi import events as descriptions
from taskqueue.api.pagination import page_of_events
from taskqueue.api.parameters import EventQuery
from taskqueue.api.requests import EventSubmission, chosen_key
from taskqueue.api.views import Door, described
from taskqueue.engine.access import redaction
from taskqueue.engine.actions import audited
from taskqueue.engine.events import send


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Events(Door):
    """All events. Not in a transaction: one is routed when it is committed, and the answer says what came of it."""

    needs = {"GET": ("taskqueue.view_event",), "POST": ("taskqueue.add_event",)}
    pointers = {errors.TooLarge: "/data", errors.NotSerializable: "/data", errors.KeyReused: "/id"}

    @described(descriptions.SEND_EVENT)
    def post(self, request: Request) -> Response:
        """Send an event."""
        asked = fitted(EventSubmission, request.data)
        external_id = chosen_key(asked.id, request.headers.get("Idempotency-Key"), name="id") or ""
        sent = audited.send(
            asked.name, asked.data, external_id=external_id, actor=actor_of(request), rights=rights_of(request)
        )
        is_told = not sent.duplicate or may(request, "taskqueue.view_event")
        found = send.find(sent.pk) if is_told else send.untold(sent)
        found.duplicate = sent.duplicate
        place = reverse("taskqueue:event", args=[sent.pk])
        return Response(SentEvent(found).data, status=200 if sent.duplicate else 202, headers={"Location": place})

    @described(descriptions.LIST_EVENTS)
    def get(self, request: Request) -> Response:
        """List events."""
        query: EventQuery = EventQuery.of(request.query_params)
        page, rights = page_of_events(query), rights_of(request)
        rights.know_all()
        for event in page.rows:
            redaction.cover_event(event, rights)
        return Response(EventPage(page).data)


class EventPlace(Door):
    """One event."""

    needs = {"GET": ("taskqueue.view_event",)}

    @described(descriptions.GET_EVENT)
    def get(self, request: Request, event_id: UUID) -> Response:
        """What it said and what came of it."""
        event = send.find(event_id)
        redaction.cover_event(event, rights_of(request))
        return Response(EventDetail(event).data)
