"""Route an event once: end the waits that match it, cancel tasks, start pipelines.

Each event is one transaction: after a crash the next sweep routes it again. A pipeline that this process does not know
is recorded as a deferred start, for a process that does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.access.permissions import is_denied
from taskqueue.engine.enqueue.deduplicate import payload_of_event
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options, Origin
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.locks import run_or_log
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.waits import LOCK_SPACE, event_output
from taskqueue.engine.tasks import control
from taskqueue.engine.tracing import carrying
from taskqueue.errors import InvalidPayload, KeyReused, NotCancellable, TaskqueueError
from taskqueue.json_values import codec
from taskqueue.models import Skip, Trigger, Wait
from taskqueue.policies import digest_for, matches
from taskqueue.states import SkipKind, WaitOutcome

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition

BATCH_SIZE = 500
"""Rows that one sweep handles; the next sweep continues."""

DEFERRED_DAYS: Final = 7
"""A deferred start is given up after so many days without a worker that knows its pipeline."""


def route(event: UUID) -> bool:
    """Route an event; False if another process is routing it or has routed it."""
    with transaction.atomic():
        rows = sql.fetch(sql.LOCK_EVENT, {"event": event})
        if not rows:
            return False
        name, data, received_at, denied, traceparent = rows[0]
        closed = codec.read(denied)
        # A wait that is being registered either is visible below, or finds the event itself: see waits.register.
        sql.fetch(sql.LOCK_EVENT_NAME, {"space": LOCK_SPACE, "name": name})
        resolve_waits(event, name, data, received_at, closed.get("cancel", ()))
        with carrying(traceparent):
            start_pipelines(event, name, codec.read(data), closed.get("run", ()))
        sql.fetch(sql.MARK_ROUTED, {"event": event})
        notify_on_commit()
    return True


def route_pending() -> int:
    """Route the events that are not routed yet; returns how many."""
    return run_for_rows(sql.FIND_UNROUTED, {}, route, first=UUID(int=0))


def start_deferred() -> int:
    """Start the deferred pipelines that this process knows, as if their events came now; returns how many."""
    return run_for_rows(sql.FIND_DEFERRED_STARTS, deployed_pipelines(), start_one_deferred, first=0)


def run_for_rows(
    statement: LiteralString, values: Mapping[str, Any], function: Callable[[Any], bool], *, first: UUID | int
) -> int:
    """Call a function for each id that a paged statement finds; returns how often it was true. Failures are logged."""
    done, after = 0, first
    while done < BATCH_SIZE and (rows := sql.fetch(statement, {**values, "after": after})):
        for (row_id,) in rows:
            done += run_or_log(partial(function, row_id), f"{function.__name__} {row_id}")
        after = rows[-1][0]
    return done


def resolve_waits(event: UUID, name: str, data: str, received_at: str, closed: Collection[str]) -> None:
    """End the open waits that the event matches and cancel the tasks that it cancels, except in closed pipelines."""
    values = codec.read(data)
    listened = [fields for (fields,) in sql.fetch(sql.OPEN_WAIT_FIELDS, {"name": name})]
    digests = {fields: digest for fields in listened if (digest := digest_for(fields, values)) is not None}
    match: dict[str, Any] = {"name": name, "fields": list(digests), "digests": list(digests.values())}
    listeners = sql.fetch(sql.LOCK_WAITING_TASKS, match) if digests else []
    if ended := [task for task, has_ended in listeners if has_ended]:
        # After the locks, to see what their last holders wrote. Few ended tasks leave waits open: their code has
        # changed since, or they killed their workers.
        Wait.objects.filter(task__in=ended, outcome="").update(outcome=WaitOutcome.CLOSED, resolved_at=Now())
    if len(ended) == len(listeners):
        return
    spared = spared_tasks(event, match, closed) if closed else []
    match = {**match, "event": event, "received_at": received_at, "spared": spared}
    for task in sorted({task for (task,) in sql.fetch(sql.RESOLVE_CANCEL_WAITS, match)}):
        # A task that was created and has finished since the locks were taken cannot be cancelled.
        with suppress(NotCancellable):
            control.cancel(task, reason=f"Cancelled by event {name} {event}.")
    match["arrival"] = event_output(event, name, data, received_at)
    resolved = [task for (task,) in sql.fetch(sql.RESOLVE_WAITS, match)]
    sql.fetch(sql.QUEUE_ALL_SUSPENDED, {"tasks": resolved})


def spared_tasks(event: UUID, match: Mapping[str, Any], closed: Collection[str]) -> list[UUID]:
    """The tasks that the event matches and its sender has no permission to cancel; recorded as skips."""
    rows = sql.fetch(sql.FIND_TASKS_TO_CANCEL, match)
    spared = [(task, pipeline) for task, pipeline in rows if is_denied(pipeline, closed)]
    for pipeline, number in sorted(Counter(pipeline for _task, pipeline in spared).items()):
        count = "1 task goes on" if number == 1 else f"{number:,} tasks go on"
        reason = f"The sender has no permission to cancel tasks of pipeline {pipeline!r}: {count}."
        record_skip(event, pipeline, SkipKind.NOT_PERMITTED, reason)
    return [task for task, _pipeline in spared]


def start_pipelines(event: UUID, name: str, data: Any, closed: Collection[str]) -> None:
    """Start the pipelines with a trigger that matches, except closed ones; each pipeline at most once."""
    started: set[str] = set()
    for trigger in Trigger.objects.filter(event=name).order_by("pipeline", "position"):
        pipeline = trigger.pipeline_id
        if pipeline in started or not matches(trigger.match, data):
            continue
        started.add(pipeline)
        if is_denied(pipeline, closed):
            reason = f"The sender has no permission to run tasks of pipeline {pipeline!r}."
            record_skip(event, pipeline, SkipKind.NOT_PERMITTED, reason)
        else:
            start(event, name, pipeline, data)


def start(event: UUID, name: str, pipeline: str, data: Any) -> None:
    """Enqueue the task that an event starts; a refused payload or key is recorded as a skip."""
    if pipeline not in registry.names():
        # Only the pipeline's code has the payload schema and the policies. It may be another service's, or code that a
        # deploy brings later.
        reason = (
            f"The process that routed the event does not know the pipeline {pipeline}. The first worker that knows it "
            f"within {DEFERRED_DAYS} days starts it."
        )
        record_skip(event, pipeline, SkipKind.DEFERRED, reason)
        return
    definition = registry.get(pipeline)
    on = definition.trigger_for(name, data)
    options = Options(key=on.key_for(data), force=on.is_forced_by(data)) if on is not None else Options()
    try:
        with transaction.atomic():
            insert(definition, checked_payload(definition, data), options=options, origin=Origin(event=event))
    except KeyReused as error:
        record_skip(event, pipeline, SkipKind.DUPLICATE, error.detail, task=error.task)
    except TaskqueueError as error:
        fields = "; ".join(f"{field.pointer} {field.detail}" for field in getattr(error, "errors", [])[:3])
        reason = codec.printable(f"{error.detail} {fields}" if isinstance(error, InvalidPayload) else error.detail)
        record_skip(event, pipeline, SkipKind.INVALID, reason.strip())


def start_one_deferred(skip_id: int) -> bool:
    """Start a deferred pipeline; False if another process is starting it or has started it."""
    with transaction.atomic():
        unlocked = Skip.objects.select_related("event").select_for_update(skip_locked=True, of=("self",))
        skip = unlocked.filter(pk=skip_id, kind=SkipKind.DEFERRED).first()
        if skip is None or skip.event is None:
            return False
        with carrying(skip.event.traceparent):
            start(skip.event.pk, skip.event.name, skip.pipeline_id, skip.event.data)
        skip.delete()
        notify_on_commit()
    return True


def record_skip(event: UUID, pipeline: str, kind: SkipKind, reason: str, *, task: UUID | None = None) -> None:
    """Record that an event did not start a pipeline, or did not cancel its tasks."""
    Skip.objects.create(pipeline_id=pipeline, kind=kind, reason=reason[:500], event_id=event, task_id=task)


def checked_payload(definition: PipelineDefinition, data: Any) -> str:
    """The payload that an event's data makes for a pipeline.

    Raises:
        InvalidPayload, NotSerializable: the data does not fit, or a validator of the pipeline raised an exception. That
            must not keep the event from other pipelines.
    """
    try:
        return definition.payload.check(payload_of_event(definition, data))
    except TaskqueueError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {message_of(error)}"
        raise InvalidPayload(f"The pipeline's own code failed on the payload: {what}.", []) from error
