"""Waits: register the events that a task waits for, and find matching ones that came before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskqueue.context import Awaited, Suspension
from taskqueue.engine import sql
from taskqueue.ids import earliest_at
from taskqueue.json_values import codec
from taskqueue.models import Task, Wait
from taskqueue.policies import match_digest, match_fields, matches

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from taskqueue.definitions import PipelineDefinition
    from taskqueue.engine.runtime.lease import Lease
    from taskqueue.models import Step

LOCK_SPACE: Final = 0x74716577
"""The first key of the advisory lock of an event's name ("tqew" in ASCII)."""


def lock_event_names(pauses: tuple[Suspension, ...]) -> None:
    """Lock the names of the awaited events, before the task is locked: until the commit no such event is routed.

    Names are locked in sorted order, so that two tasks cannot deadlock.
    """
    for name in sorted({awaited.event for pause in pauses for awaited in pause.awaited}):
        sql.fetch(sql.LOCK_EVENT_NAME, {"space": LOCK_SPACE, "name": name})


def register(lease: Lease, pause: Suspension) -> None:
    """Register the events that a step waits for, and resolve the wait if one of them has come already.

    Under the locks of the names: an event is either committed and found here, or comes later and finds the wait.
    """
    for position, awaited in enumerate(pause.awaited):
        values = {"task": lease.task, "key": pause.key, "position": position, **parameters(awaited)}
        if not sql.fetch(sql.REGISTER_WAIT, values):
            return
    found = [
        (event, position, awaited, data, received_at)
        for position, awaited in enumerate(pause.awaited)
        for event, data, received_at in earlier_event(lease.task, awaited)
    ]
    if found:
        event, position, awaited, data, received_at = min(found)
        values = {"event": event, "arrival": event_output(event, awaited.event, data, received_at)}
        sql.fetch(sql.RESOLVE_WAIT, {**values, "task": lease.task, "key": pause.key, "position": position})


def earlier_event(task: UUID, awaited: Awaited) -> Iterator[tuple[UUID, str, str]]:
    """The first matching event since the task was created that has not resolved a wait of it; none if there is none."""
    created_at, started_by = Task.objects.values_list("created_at", "event").get(pk=task)
    since = earliest_at(created_at)
    within = containment(awaited.match)
    statement = sql.FIND_EARLIER_MATCHES if within else sql.FIND_EARLIER_EVENTS
    values = {"task": task, "created_at": created_at, "started_by": started_by, "name": awaited.event}
    while rows := sql.fetch(statement, {**values, "within": codec.write(within), "since": since}):
        for event, data, received_at in rows:
            if matches(awaited.match, codec.read(data)):
                yield event, data, received_at
                return
        since = rows[-1][0]


def containment(match: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a match that PostgreSQL can check by its index: values at paths of names, not at list positions."""
    found: dict[str, Any] = {}
    for path, value in match.items():
        names = path.split(".")
        if any(name.isdigit() for name in names) or not isinstance(value, str | int | float | bool):
            continue
        inner = found
        for name in names[:-1]:
            inner = inner.setdefault(name, {}) if isinstance(inner.get(name, {}), dict) else {}
        inner[names[-1]] = value
    return found


def parameters(awaited: Awaited) -> dict[str, Any]:
    return {
        "name": awaited.event,
        "match": codec.write(dict(awaited.match), what="match"),
        "fields": match_fields(awaited.match),
        "digest": match_digest(awaited.match),
        "assignees": None if awaited.question is None else list(awaited.question.assignees),
        "question": "" if awaited.question is None else awaited.question.text,
        "answer_schema": None if awaited.question is None else awaited.question.schema,
        "answer_model": "" if awaited.question is None else awaited.question.model,
    }


def event_output(event: UUID, name: str, data: str, received_at: str) -> str:
    output = {"id": str(event), "name": name, "received_at": received_at, "data": codec.read(data)}
    return codec.write(output, what="event")


def register_cancel_events(definition: PipelineDefinition, task: UUID, payload: str, labels: Mapping[str, str]) -> None:
    values = codec.read(payload)
    for position, cancel_on in enumerate(definition.policies.cancel_on):
        awaited = Awaited(event=cancel_on.event, match=cancel_on.bound(values, labels))
        sql.fetch(sql.REGISTER_WAIT, {"task": task, "key": "", "position": position, **parameters(awaited)})


def replace_cancel_events(definition: PipelineDefinition, task: UUID, payload: str, labels: Mapping[str, str]) -> None:
    """Replace the events that cancel a task when its payload is replaced.

    Call it in the transaction that changes the task's row. Routing an event locks that row before it reads the waits:
    it finds either the old waits and the old payload, or the new ones.
    """
    Wait.objects.filter(task=task, step_key="").delete()
    register_cancel_events(definition, task, payload, labels)


def reopen_waits(task: UUID, keys: QuerySet[Step, Any]) -> None:
    """When a finished task continues: delete the waits of the steps with these keys, and let events cancel it again."""
    Wait.objects.filter(task=task, step_key__in=keys).delete()
    Wait.objects.filter(task=task, step_key="").update(outcome="", resolved_by=None, resolved_at=None)
