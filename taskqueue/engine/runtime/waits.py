"""Waits: a task says for which events it waits, and finds those that came before it said so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskqueue import codec
from taskqueue.context import Awaited, Pause
from taskqueue.engine import sql
from taskqueue.ids import earliest_at
from taskqueue.models import Task, Wait
from taskqueue.policies import match_digest, match_fields, matches

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from taskqueue.definitions import PipelineDefinition
    from taskqueue.engine.runtime.lease import Lease
    from taskqueue.models import Step

NAME_SPACE: Final = 0x74716577
"""The first half of the advisory lock of an event's name ("tqew" in ASCII)."""


def lock_names(pauses: tuple[Pause, ...]) -> None:
    """Before the task is locked: from now to the commit no event of these names is routed.

    In one order, so that two tasks that wait for the same names do not wait for each other.
    """
    for name in sorted({awaited.event for pause in pauses for awaited in pause.awaited}):
        sql.fetch(sql.LOCK_EVENT_NAME, {"space": NAME_SPACE, "name": name})


def register(lease: Lease, pause: Pause) -> None:
    """Register what a pause waits for, unless that is done, or one of the events is there already.

    Under the locks of the names: an event that is being routed is either committed and found here, or comes later and
    finds the wait.
    """
    for position, awaited in enumerate(pause.awaited):
        values = {"task": lease.task, "key": pause.key, "position": position, **parameters(awaited)}
        if not sql.fetch(sql.REGISTER_WAIT, values):
            return
    found = [
        (event, position, awaited, data, received_at)
        for position, awaited in enumerate(pause.awaited)
        for event, data, received_at in look_back(lease.task, awaited)
    ]
    if found:
        event, position, awaited, data, received_at = min(found)
        came = {"event": event, "arrival": arrival(event, awaited.event, data, received_at)}
        sql.fetch(sql.RESOLVE, {**came, "task": lease.task, "key": pause.key, "position": position})


def look_back(task: UUID, awaited: Awaited) -> Iterator[tuple[UUID, str, str]]:
    """The first event that came since the task was made, fits, and was not used by it; none if there is none."""
    created_at, started_by = Task.objects.values_list("created_at", "event").get(pk=task)
    since = earliest_at(created_at)
    within = containment(awaited.match)
    statement = sql.LOOK_BACK_FOR if within else sql.LOOK_BACK
    values = {"task": task, "created_at": created_at, "started_by": started_by, "name": awaited.event}
    while rows := sql.fetch(statement, {**values, "within": codec.write(within), "since": since}):
        for event, data, received_at in rows:
            if matches(awaited.match, codec.read(data)):
                yield event, data, received_at
                return
        since = rows[-1][0]


def containment(match: Mapping[str, Any]) -> dict[str, Any]:
    """What PostgreSQL can check of a match by its index: the values at paths of names; places in lists it cannot."""
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
    """The parameters that register a wait."""
    return {
        "name": awaited.event,
        "match": codec.write(dict(awaited.match), what="match"),
        "fields": match_fields(awaited.match),
        "digest": match_digest(awaited.match),
    }


def arrival(event: UUID, name: str, data: str, received_at: str) -> str:
    """The output of a step that has waited, but for its place among several: which event came, as JSON."""
    facts = {"id": str(event), "name": name, "received_at": received_at, "data": codec.read(data)}
    return codec.write(facts, what="event")


def register_cancels(definition: PipelineDefinition, task: UUID, payload: str, labels: Mapping[str, str]) -> None:
    """Register the events that cancel a new task."""
    values = codec.read(payload)
    for position, cancel_on in enumerate(definition.policies.cancel_on):
        awaited = Awaited(event=cancel_on.event, match=cancel_on.bound(values, labels))
        sql.fetch(sql.REGISTER_WAIT, {"task": task, "key": "", "position": position, **parameters(awaited)})


def renew_cancels(definition: PipelineDefinition, task: UUID, payload: str, labels: Mapping[str, str]) -> None:
    """Register them anew for a payload that takes the place of the former one.

    In the transaction that has changed the task's row: who routes an event of these names locks the row before it looks
    for the waits again, so it finds either the former ones and the former payload, or the new ones and the new payload.
    """
    Wait.objects.filter(task=task, step_key="").delete()
    register_cancels(definition, task, payload, labels)


def begin_anew(task: UUID, forgotten: QuerySet[Step, Any]) -> None:
    """When an ended task goes on: forget the waits of the steps with these keys, and let events cancel it again."""
    Wait.objects.filter(task=task, step_key__in=forgotten).delete()
    Wait.objects.filter(task=task, step_key="").update(outcome="", resolved_by=None, resolved_at=None)
