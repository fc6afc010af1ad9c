"""Send events to a task that runs inside a test, when it waits for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from taskqueue.engine.events import route
from taskqueue.engine.events import send as event_sending
from taskqueue.json_values import codec
from taskqueue.models import Step, Wait
from taskqueue.policies import matches
from taskqueue.states import StepKind, StepStatus

GivenEvent = tuple[str, Mapping[str, Any] | None]
"""A name and its data; None for an event that does not come in time."""


def open_waits(tasks: Collection[UUID]) -> QuerySet[Wait]:
    """Return the open waits of these tasks, including those for events that cancel a task."""
    return Wait.objects.filter(task__in=tasks, outcome="").order_by("pk")


def first_match(given: Sequence[GivenEvent], waits: Sequence[Wait]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the first of the given events for which a wait is open."""
    for name, data in given:
        if data is not None and any(wait.event == name and matches(wait.match, dict(data)) for wait in waits):
            return name, data
    return None


def waits_ending_by(moment: datetime | None, waits: Sequence[Wait]) -> list[Wait]:
    """Return the waits that time out by this moment, without those for a cancellation; all of them if it is None."""
    steps = Step.objects.filter(
        task__in={wait.task_id for wait in waits}, kind=StepKind.WAIT, status=StepStatus.WAITING
    )
    ending = {
        (step.task_id, step.key) for step in steps if moment is None or step.until is None or step.until <= moment
    }
    return [wait for wait in waits if (wait.task_id, wait.step_key) in ending]


def send(name: str, data: Mapping[str, Any]) -> None:
    """Send an event and route it to its waits, also inside a test's transaction that never commits."""
    route.route(event_sending.send(name, dict(data)).pk)


def missing(waits: Sequence[Wait], unsent: Sequence[GivenEvent]) -> str:
    """Return a sentence about the events that are waited for and were not given."""
    wanted = " or ".join(description_of(wait) for wait in waits)
    name = waits[0].event
    text = f'It waits for {wanted}, and no such event was given: add ("{name}", {{…}}) to events, '
    text += f'or ("{name}", None) to let the wait time out.'
    if unsent:
        text += f" Given and not used: {', '.join(f'{each} {data_of(data)}' for each, data in unsent)}."
    return text


def description_of(wait: Wait) -> str:
    match = " and ".join(f"{path} = {codec.write(value)}" for path, value in wait.match.items())
    return f"event {wait.event!r} with {match}" if match else f"event {wait.event!r}"


def data_of(data: Mapping[str, Any] | None) -> str:
    return "(not to come)" if data is None else codec.write(dict(data))
