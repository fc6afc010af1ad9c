"""Events: a named message is written in its sender's transaction, and routed when that has committed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import Error, transaction

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.engine import sql
from taskqueue.engine.events.route import route
from taskqueue.errors import EventNotFound, FieldError, InvalidEvent, KeyReused
from taskqueue.ids import uuid7
from taskqueue.models import Event, Skip, Task, Wait
from taskqueue.policies import EVENT_NAME_MAX, canonical, is_event_name

logger = logging.getLogger("taskqueue.engine")
ID_MAX_LENGTH: Final = 200

NONE_CLOSED: Final[Mapping[str, Sequence[str]]] = {}
MOST_TOLD: Final = 1_000
"""An event may end thousands of waits; so many of each kind are shown."""


def send(
    name: str,
    data: object,
    *,
    external_id: str = "",
    source: UUID | None = None,
    closed: Mapping[str, Sequence[str]] = NONE_CLOSED,
) -> Event:
    """Write an event in the caller's transaction; after its commit it is routed.

    Args:
        name: up to 200 printable characters without spaces, such as "order/paid".
        data: a JSON object.
        external_id: the sender's own id; the same one within 24 hours is the same event.
        source: the task that sends it.
        closed: by `run` and `cancel`, the pipelines of which it starts or cancels no tasks.

    Returns:
        The event; with `duplicate` set it is the one that the id stands for already.

    Raises:
        InvalidEvent, TooLarge, KeyReused: nothing was written.
    """
    values: dict[str, Any] = {
        "id": uuid7(),
        "name": name,
        "data": checked(name, data, external_id),
        "external_id": external_id,
        "source": source,
        "closed": codec.write({deed: list(names) for deed, names in closed.items() if names}),
        "window": settings().IDEMPOTENCY_WINDOW,
    }
    while True:
        if external_id:
            sql.fetch(sql.FREE_ID, values)
        if sql.fetch(sql.SEND, values):
            transaction.on_commit(partial(route_now, values["id"]), robust=True)
            return Event.objects.get(pk=values["id"])
        if (earlier := Event.objects.filter(unique_id=external_id).first()) is not None:
            return repeated(earlier, name, data)


def repeated(earlier: Event, name: str, data: object) -> Event:
    """The event that an id stands for already.

    Raises:
        KeyReused: it is of another name or has other data.
    """
    if earlier.name != name or canonical(earlier.data) != canonical(data):
        detail = f"The id {earlier.external_id!r} stands for event {earlier.pk}, which says something else."
        raise KeyReused(detail)
    earlier.duplicate = True
    return earlier


def checked(name: str, data: object, external_id: str = "") -> str:
    """The event's data as JSON.

    Raises:
        InvalidEvent, TooLarge
    """
    faults = []
    if not is_event_name(name):
        sentence = f"An event's name has 1 to {EVENT_NAME_MAX} printable characters and no spaces."
        faults.append(FieldError("/name", sentence))
    if len(external_id) > ID_MAX_LENGTH:
        faults.append(FieldError("/id", f"An id has at most {ID_MAX_LENGTH} characters."))
    faults += [FieldError("/id", fault.detail) for fault in codec.text_faults(external_id, "/id")]
    if not isinstance(data, dict):
        faults.append(FieldError("/data", "An event's data is a JSON object."))
    if faults:
        raise InvalidEvent(f"The event is not valid: {faults[0].detail}", faults)
    written = codec.write(data, what="data of the event")
    limit = settings().PAYLOAD_MAX_BYTES
    return codec.within(written, limit=limit, what="The event's data", setting="PAYLOAD_MAX_BYTES")


def route_now(event: UUID) -> None:
    """Route an event just committed. What fails here is done by the next sweep."""
    try:
        route(event)
    except Error:
        logger.exception("Event %s was not routed yet; a sweep will do it", event)


def find(event: UUID) -> Event:
    """An event with its `started_tasks`, `ended_waits`, `cancelled_tasks` and what was `skipped`: of each the first.

    Raises:
        EventNotFound
    """
    found = Event.objects.filter(pk=event).first()
    if found is None:
        raise EventNotFound(event)
    tell_effects(found, most=MOST_TOLD)
    return found


def untold(event: Event) -> Any:
    """An event for somebody who knows its sender's id and may not see it: that it is there, and since when."""
    bare: Any = Event(
        id=event.pk, external_id=event.external_id, received_at=event.received_at, routed_at=event.routed_at
    )
    bare.started_tasks, bare.ended_waits, bare.cancelled_tasks, bare.skipped = [], [], [], []
    return bare


def tell_effects(found: Any, *, most: int) -> None:
    """Attach to an event what came of it, of each kind so many."""
    event = found.pk
    waits = Wait.objects.filter(resolved_by=event).order_by("pk")
    found.started_tasks = list(Task.objects.filter(event=event).only("pipeline").order_by("pk")[:most])
    found.ended_waits = list(waits.exclude(step_key="")[:most])
    found.cancelled_tasks = list(waits.filter(step_key="").values_list("task", flat=True)[:most])
    found.skipped = list(Skip.objects.filter(event=event).order_by("pk")[:most])
