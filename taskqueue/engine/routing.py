"""Routing: an event reaches those who listen for it, once: open waits, tasks that it cancels, pipelines that it starts.

One transaction per event. Whoever dies in the middle has done nothing, and the next sweep begins anew.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction

from taskqueue import codec
from taskqueue.definitions import registry
from taskqueue.engine import control, statements
from taskqueue.engine.intake import Origin, enqueue, enqueue_unknown
from taskqueue.engine.patience import is_busy
from taskqueue.engine.starting import payload_of_event
from taskqueue.engine.waits import NAME_SPACE, arrival
from taskqueue.engine.wakeups import ring_on_commit
from taskqueue.errors import InvalidPayload, TaskqueueError
from taskqueue.models import Skip, Task, Trigger
from taskqueue.policies import digest_for, matches
from taskqueue.states import TaskStatus

logger = logging.getLogger("taskqueue.engine")
FIRST = UUID(int=0)


def route(event: UUID) -> bool:
    """Let an event reach those who listen for it; False when somebody else does, or has done so."""
    with transaction.atomic():
        rows = statements.fetch(statements.LOCK_EVENT, {"event": event})
        if not rows:
            return False
        name, data, received_at = rows[0]
        # A wait that is being registered is either seen below, or sees the event itself: see waits.register.
        statements.fetch(statements.LOCK_EVENT_NAME, {"space": NAME_SPACE, "name": name})
        resolve_waits(event, name, data, received_at)
        start_pipelines(event, name, codec.read(data))
        statements.fetch(statements.ROUTED, {"event": event})
        ring_on_commit()
    return True


def route_unrouted() -> int:
    """Route what nobody has routed yet; how many events. One that cannot be routed is logged, and passed over."""
    routed, after = 0, FIRST
    while rows := statements.fetch(statements.UNROUTED, {"after": after}):
        for (event,) in rows:
            try:
                routed += route(event)
            except (OperationalError, InterfaceError) as error:
                if not is_busy(error):
                    raise
            except Exception:
                logger.exception("Event %s cannot be routed; it is tried again at the next look", event)
        after = rows[-1][0]
    return routed


def resolve_waits(event: UUID, name: str, data: str, received_at: str) -> None:
    """Resolve the open waits that fit, and cancel the tasks that the event cancels."""
    plain = codec.read(data)
    known = [fields for (fields,) in statements.fetch(statements.OPEN_FIELDS, {"name": name})]
    digests = {fields: digest for fields in known if (digest := digest_for(fields, plain)) is not None}
    sought = {"name": name, "fields": list(digests), "digests": list(digests.values())}
    for _wait, task, key, position in statements.fetch(statements.OPEN_WAITS, sought):
        if not statements.fetch(statements.LOCK_LIVE_TASK, {"task": task}):
            continue
        if not key:
            cancel_by(task, f"Event {name} {event} came.")
            continue
        output = arrival(position, event, name, data, received_at)
        values = {"task": task, "key": key, "position": position, "event": event, "output": output}
        if statements.fetch(statements.RESOLVE, values):
            statements.fetch(statements.WAKE, {"task": task})


def cancel_by(task: UUID, reason: str) -> None:
    """Cancel a task because an event says so."""
    if Task.objects.filter(pk=task).exclude(status__in=[TaskStatus.CANCELLED]).exists():
        control.cancel(task, reason=reason)


def start_pipelines(event: UUID, name: str, data: Any) -> None:
    """Start what listens for events of this name."""
    listening = Trigger.objects.filter(event=name).order_by("pipeline", "position")
    started: set[str] = set()
    for trigger in listening:
        if trigger.pipeline_id not in started and matches(trigger.match, data):
            started.add(trigger.pipeline_id)
            start(event, trigger.pipeline_id, data)


def start(event: UUID, pipeline: str, data: Any) -> None:
    """Make the task that an event starts; if its data does not fit, that is written down instead."""
    origin = Origin(event=event)
    if pipeline not in registry.names():
        # Another service's code knows it; its worker checks the payload.
        enqueue_unknown(pipeline, data, origin=origin)
        return
    try:
        with transaction.atomic():
            enqueue(pipeline, payload_of_event(registry.get(pipeline), data), origin=origin)
    except TaskqueueError as error:
        faults = "; ".join(f"{fault.pointer} {fault.detail}" for fault in getattr(error, "errors", [])[:3])
        reason = f"{error.detail} {faults}".strip() if isinstance(error, InvalidPayload) else error.detail
        Skip.objects.create(pipeline_id=pipeline, kind="invalid", reason=reason[:500], event_id=event)
