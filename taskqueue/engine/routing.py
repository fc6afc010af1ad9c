"""Routing: an event reaches those who listen for it, once: open waits, tasks that it cancels, pipelines that it starts.

One transaction per event. Whoever dies in the middle has done nothing, and the next sweep begins anew.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction

from taskqueue import codec
from taskqueue.definitions import registry
from taskqueue.engine import control, statements
from taskqueue.engine.failures import message_of
from taskqueue.engine.intake import Origin, enqueue_unknown, insert
from taskqueue.engine.patience import is_busy, ran_out_of_time
from taskqueue.engine.starting import payload_of_event
from taskqueue.engine.waits import NAME_SPACE, arrival
from taskqueue.engine.wakeups import ring_on_commit
from taskqueue.errors import InvalidPayload, NotCancellable, TaskqueueError
from taskqueue.models import Skip, Trigger
from taskqueue.policies import digest_for, matches
from taskqueue.states import SkipKind

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition

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
                if ran_out_of_time(error):
                    logger.exception("Event %s takes too long to route; it is tried again at the next look", event)
                elif not is_busy(error):
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
    listeners = statements.fetch(statements.LOCK_LISTENERS, sought) if digests else []
    if ended := [task for task, has_ended in listeners if has_ended]:
        statements.fetch(statements.CLOSE_WAITS, {"tasks": ended})
    if len(ended) == len(listeners):
        return
    came = {**sought, "event": event, "received_at": received_at}
    for task in sorted({task for (task,) in statements.fetch(statements.CANCELLED_BY, came)}):
        # One that was made and has ended since the locks were taken is not there to be cancelled.
        with suppress(NotCancellable):
            control.cancel(task, reason=f"Event {name} {event} came.")
    came["arrival"] = arrival(event, name, data, received_at)
    resolved = [task for (task,) in statements.fetch(statements.RESOLVE_ALL, came)]
    statements.fetch(statements.WAKE_ALL, {"tasks": resolved})


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
    definition = registry.get(pipeline)
    try:
        with transaction.atomic():
            insert(definition, payload_for(definition, data), origin=origin)
    except TaskqueueError as error:
        faults = "; ".join(f"{fault.pointer} {fault.detail}" for fault in getattr(error, "errors", [])[:3])
        reason = codec.printable(f"{error.detail} {faults}" if isinstance(error, InvalidPayload) else error.detail)
        kind = SkipKind.INVALID
        Skip.objects.create(pipeline_id=pipeline, kind=kind, reason=reason.strip()[:500], event_id=event)


def payload_for(definition: PipelineDefinition, data: Any) -> str:
    """The payload that an event's data makes for a pipeline.

    Raises:
        InvalidPayload, Unstorable: it does not fit; or the pipeline's own validators break down over it, which must not
            keep the event from those who can read it.
    """
    try:
        return definition.payload.check(payload_of_event(definition, data))
    except TaskqueueError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {message_of(error)}"
        raise InvalidPayload(f"The pipeline's own code broke down over it: {what}.", []) from error
