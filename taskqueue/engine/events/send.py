"""Send an event: insert it in the sender's transaction, and route it after the commit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import Error, transaction
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.conf import settings
from taskqueue.engine import sql
from taskqueue.engine.events.route import route
from taskqueue.engine.tracing import current_traceparent
from taskqueue.errors import EventNotFound, FieldError, InvalidEvent, KeyReused
from taskqueue.ids import uuid7
from taskqueue.json_values import codec
from taskqueue.models import Event, Skip, Task, Wait
from taskqueue.policies import EVENT_NAME_MAX, canonical, is_event_name

logger = logging.getLogger("taskqueue.engine")
ID_MAX_LENGTH: Final = 200

NONE_CLOSED: Final[Mapping[str, Sequence[str]]] = {}
EFFECTS_MAX: Final = 1_000
"""An event may end thousands of waits; so many effects of each kind are shown."""


def send(
    name: str,
    data: object,
    *,
    external_id: str = "",
    source: UUID | None = None,
    closed: Mapping[str, Sequence[str]] = NONE_CLOSED,
) -> Event:
    """Insert an event in the caller's transaction; it is routed after the commit.

    Args:
        name: up to 200 printable characters without spaces, such as "order/paid".
        data: a JSON object.
        external_id: the sender's own id; within 24 hours one id is one event.
        source: the task that sends it.
        closed: under `run` and `cancel`, the pipelines of which the event starts or cancels no tasks.

    Returns:
        The event, or the existing one with this id, with `duplicate` set.

    Raises:
        InvalidEvent, TooLarge, KeyReused: nothing was inserted.
    """
    values: dict[str, Any] = {
        "id": uuid7(),
        "name": name,
        "data": checked_data(name, data, external_id),
        "external_id": external_id,
        "source": source,
        "traceparent": current_traceparent(),
        "closed": codec.write({action: list(names) for action, names in closed.items() if names}),
    }
    while True:
        if external_id:
            release_id(external_id)
        if sql.fetch(sql.SEND, values):
            transaction.on_commit(partial(route_now, values["id"]), robust=True)
            return Event.objects.get(pk=values["id"])
        if (existing := Event.objects.filter(unique_id=external_id).first()) is not None:
            return use_existing(existing, name, data)


def release_id(external_id: str) -> None:
    """Let a sender's id be used again, if its window is over."""
    expired = Event.objects.filter(received_at__lte=Now() - settings().IDEMPOTENCY_WINDOW)
    expired.filter(~Q(unique_id=""), unique_id=external_id).update(unique_id="")


def use_existing(event: Event, name: str, data: object) -> Event:
    """The event that the sender's id belongs to, as a duplicate.

    Raises:
        KeyReused: it has another name or other data.
    """
    if event.name != name or canonical(event.data) != canonical(data):
        raise KeyReused(f"The id {event.external_id!r} belongs to event {event.pk}, which has other content.")
    event.duplicate = True
    return event


def checked_data(name: str, data: object, external_id: str = "") -> str:
    """An event's data as JSON.

    Raises:
        InvalidEvent, TooLarge
    """
    errors = []
    if not is_event_name(name):
        detail = f"An event's name has 1 to {EVENT_NAME_MAX} printable characters and no spaces."
        errors.append(FieldError("/name", detail))
    if len(external_id) > ID_MAX_LENGTH:
        errors.append(FieldError("/id", f"An id has at most {ID_MAX_LENGTH} characters."))
    errors += [FieldError("/id", error.detail) for error in codec.text_errors(external_id, "/id")]
    if not isinstance(data, dict):
        errors.append(FieldError("/data", "An event's data is a JSON object."))
    if errors:
        raise InvalidEvent(f"The event is not valid: {errors[0].detail}", errors)
    text = codec.write(data, what="data of the event")
    limit = settings().PAYLOAD_MAX_BYTES
    return codec.within(text, limit=limit, what="The event's data", setting="PAYLOAD_MAX_BYTES")


def route_now(event: UUID) -> None:
    """Route a committed event. After a database error the next sweep routes it."""
    try:
        route(event)
    except Error:
        logger.exception("Event %s is not routed yet; the next sweep will route it", event)


def find(event: UUID) -> Event:
    """An event with its first `started_tasks`, `ended_waits`, `cancelled_tasks` and `skipped`.

    Raises:
        EventNotFound
    """
    found = Event.objects.filter(pk=event).first()
    if found is None:
        raise EventNotFound(event)
    attach_effects(found, limit=EFFECTS_MAX)
    return found


def redacted(event: Event) -> Any:
    """An event for a caller without permission to read it: only its ids and times."""
    bare: Any = Event(
        id=event.pk, external_id=event.external_id, received_at=event.received_at, routed_at=event.routed_at
    )
    bare.started_tasks, bare.ended_waits, bare.cancelled_tasks, bare.skipped = [], [], [], []
    return bare


def attach_effects(event: Any, *, limit: int) -> None:
    """Attach what an event did, up to `limit` rows of each kind."""
    waits = Wait.objects.filter(resolved_by=event.pk).order_by("pk")
    event.started_tasks = list(Task.objects.filter(event=event.pk).only("pipeline").order_by("pk")[:limit])
    event.ended_waits = list(waits.exclude(step_key="")[:limit])
    event.cancelled_tasks = list(waits.filter(step_key="").values_list("task", flat=True)[:limit])
    event.skipped = list(Skip.objects.filter(event=event.pk).order_by("pk")[:limit])
