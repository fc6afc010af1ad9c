"""Routing: an event reaches those who listen for it, once: open waits, tasks that it cancels, pipelines that it starts.

One transaction per event. Whoever dies in the middle has done nothing, and the next sweep begins anew. What it starts
and this process does not know is written down in that transaction, for one that does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

from django.db import transaction

from taskqueue import codec
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.access.permissions import is_closed
from taskqueue.engine.enqueue.deduplicate import payload_of_event
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options, Origin
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.locks import attempted
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.waits import NAME_SPACE, arrival
from taskqueue.engine.tasks import control
from taskqueue.errors import InvalidPayload, KeyReused, NotCancellable, TaskqueueError
from taskqueue.models import Skip, Trigger
from taskqueue.policies import digest_for, matches
from taskqueue.states import SkipKind

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition

FIRST = UUID(int=0)
AT_ONCE = 500
"""So many of a kind in one look: others have their turn, and the next look goes on."""

DEFERRED_FOR: Final = 7
"""Days. So long may every worker of a service be away, and what events start there is not lost."""


def route(event: UUID) -> bool:
    """Let an event reach those who listen for it; False when somebody else does, or has done so."""
    with transaction.atomic():
        rows = sql.fetch(sql.LOCK_EVENT, {"event": event})
        if not rows:
            return False
        name, data, received_at, sender = rows[0]
        closed = codec.read(sender)
        # A wait that is being registered is either seen below, or sees the event itself: see waits.register.
        sql.fetch(sql.LOCK_EVENT_NAME, {"space": NAME_SPACE, "name": name})
        resolve_waits(event, name, data, received_at, closed.get("cancel", ()))
        start_pipelines(event, name, codec.read(data), closed.get("run", ()))
        sql.fetch(sql.ROUTED, {"event": event})
        notify_on_commit()
    return True


def route_unrouted() -> int:
    """Route what nobody has routed yet; how many events."""
    return for_each(sql.UNROUTED, {}, route, first=FIRST)


def for_each(
    statement: LiteralString, values: Mapping[str, Any], deed: Callable[[Any], bool], *, first: UUID | int
) -> int:
    """Do it for what a statement finds, page by page; for how many it was done.

    What fails is logged and passed over.
    """
    done, after = 0, first
    while done < AT_ONCE and (rows := sql.fetch(statement, {**values, "after": after})):
        for (one,) in rows:
            done += attempted(partial(deed, one), f"{deed.__name__} {one}")
        after = rows[-1][0]
    return done


def resolve_waits(event: UUID, name: str, data: str, received_at: str, closed: Collection[str]) -> None:
    """Resolve the open waits that fit, and cancel what the event cancels, but for tasks of closed pipelines."""
    plain = codec.read(data)
    known = [fields for (fields,) in sql.fetch(sql.OPEN_FIELDS, {"name": name})]
    digests = {fields: digest for fields in known if (digest := digest_for(fields, plain)) is not None}
    sought = {"name": name, "fields": list(digests), "digests": list(digests.values())}
    listeners = sql.fetch(sql.LOCK_LISTENERS, sought) if digests else []
    if ended := [task for task, has_ended in listeners if has_ended]:
        sql.fetch(sql.CLOSE_WAITS, {"tasks": ended})
    if len(ended) == len(listeners):
        return
    spared = spare(event, sought, closed) if closed else []
    came = {**sought, "event": event, "received_at": received_at, "spared": spared}
    for task in sorted({task for (task,) in sql.fetch(sql.CANCELLED_BY, came)}):
        # One that was made and has ended since the locks were taken is not there to be cancelled.
        with suppress(NotCancellable):
            control.cancel(task, reason=f"Event {name} {event} came.")
    came["arrival"] = arrival(event, name, data, received_at)
    resolved = [task for (task,) in sql.fetch(sql.RESOLVE_ALL, came)]
    sql.fetch(sql.WAKE_ALL, {"tasks": resolved})


def spare(event: UUID, sought: Mapping[str, Any], closed: Collection[str]) -> list[UUID]:
    """The tasks that the event would cancel and its sender may not; that they go on is written down."""
    rows = sql.fetch(sql.CANCELLABLE, sought)
    spared = [(task, pipeline) for task, pipeline in rows if is_closed(pipeline, closed)]
    for pipeline, number in sorted(Counter(pipeline for _task, pipeline in spared).items()):
        what = "1 task goes on" if number == 1 else f"{number:,} tasks go on"
        reason = f"Its sender may not cancel tasks of pipeline {pipeline!r}: {what}."
        skip(event, pipeline, SkipKind.NOT_PERMITTED, reason)
    return [task for task, _pipeline in spared]


def start_pipelines(event: UUID, name: str, data: Any, closed: Collection[str]) -> None:
    """Start what listens for events of this name, but for closed pipelines."""
    listening = Trigger.objects.filter(event=name).order_by("pipeline", "position")
    started: set[str] = set()
    for trigger in listening:
        if trigger.pipeline_id not in started and matches(trigger.match, data):
            started.add(trigger.pipeline_id)
            if is_closed(trigger.pipeline_id, closed):
                reason = f"Its sender may not run tasks of pipeline {trigger.pipeline_id!r}."
                skip(event, trigger.pipeline_id, SkipKind.NOT_PERMITTED, reason)
            else:
                start(event, name, trigger.pipeline_id, data)


def skip(event: UUID, pipeline: str, kind: SkipKind, reason: str, *, task: UUID | None = None) -> None:
    """Write down that an event has not started a pipeline, or not cancelled tasks of it."""
    Skip.objects.create(pipeline_id=pipeline, kind=kind, reason=reason[:500], event_id=event, task_id=task)


def start(event: UUID, name: str, pipeline: str, data: Any) -> None:
    """Make the task that an event starts; if its data does not fit, that is written down instead."""
    if pipeline not in registry.names():
        defer(event, pipeline)
        return
    definition = registry.get(pipeline)
    on = definition.trigger_for(name, data)
    options = Options(key=on.key_for(data), force=on.is_forced_by(data)) if on is not None else Options()
    try:
        with transaction.atomic():
            insert(definition, payload_for(definition, data), options=options, origin=Origin(event=event))
    except KeyReused as error:
        skip(event, pipeline, SkipKind.DUPLICATE, error.detail, task=error.task)
    except TaskqueueError as error:
        faults = "; ".join(f"{fault.pointer} {fault.detail}" for fault in getattr(error, "errors", [])[:3])
        reason = codec.printable(f"{error.detail} {faults}" if isinstance(error, InvalidPayload) else error.detail)
        skip(event, pipeline, SkipKind.INVALID, reason.strip())


def defer(event: UUID, pipeline: str) -> None:
    """Leave a start to a process that knows the pipeline: only its code has the payload's shape and the policies.

    It may be another service's, or, during a deploy, one that is still to come. Which of them it will be nobody knows;
    the row waits for whichever looks next.
    """
    reason = (
        f"The process that routed it does not know the pipeline {pipeline}. A worker that does starts it, if one comes "
        f"within {DEFERRED_FOR} days."
    )
    skip(event, pipeline, SkipKind.DEFERRED, reason)


def start_deferred() -> int:
    """Start what others have left to processes that know it, as if its events came just now; how many."""
    return for_each(sql.DEFERRED, deployed_pipelines(), start_one_deferred, first=0)


def start_one_deferred(deferred: int) -> bool:
    """Start one of them, once; False when somebody else does, or has done so."""
    with transaction.atomic():
        rows = sql.fetch(sql.LOCK_DEFERRED, {"skip": deferred})
        if not rows:
            return False
        event, pipeline, name, data = rows[0]
        start(event, name, pipeline, codec.read(data))
        Skip.objects.filter(pk=deferred).delete()
        notify_on_commit()
    return True


def payload_for(definition: PipelineDefinition, data: Any) -> str:
    """The payload that an event's data makes for a pipeline.

    Raises:
        InvalidPayload, NotSerializable: it does not fit; or the pipeline's own validators break down over it, which
            must not
            keep the event from those who can read it.
    """
    try:
        return definition.payload.check(payload_of_event(definition, data))
    except TaskqueueError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {message_of(error)}"
        raise InvalidPayload(f"The pipeline's own code broke down over it: {what}.", []) from error
