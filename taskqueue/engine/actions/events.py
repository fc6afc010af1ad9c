"""Send an event for a user or a program, with its audit entry."""

from __future__ import annotations

from django.db import transaction

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.events.send import send
from taskqueue.models import Event


def send_event(
    name: str, data: object, *, actor: Actor, rights: CallerPermissions, external_id: str = "", message: str = "Sent."
) -> Event:
    """Send an event; it is routed after the commit. A duplicate gets no second audit entry.

    The event starts and cancels only tasks of pipelines that the sender may run or cancel now, also when another
    process routes it later.

    Raises:
        InvalidEvent, TooLarge, KeyReused
    """
    denied = {action.value: rights.pipelines_without_grant(action) for action in (Action.RUN, Action.CANCEL)}
    with transaction.atomic():
        event = send(name, data, external_id=external_id, closed=denied)
        if not event.duplicate:
            actor.record(event, message, added=True)
    return event
