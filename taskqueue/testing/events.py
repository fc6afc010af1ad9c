"""Events for a task that runs inside a test: sent when it waits for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from taskqueue import codec
from taskqueue.engine.events import route
from taskqueue.engine.events import send as event_sending
from taskqueue.models import Step, Wait
from taskqueue.policies import matches
from taskqueue.states import StepKind, StepStatus

Given = tuple[str, Mapping[str, Any] | None]
"""A name and its data; None for one that does not come in time."""


def open_waits(tasks: Collection[UUID]) -> QuerySet[Wait]:
    """The events that would end the waits of these tasks, or cancel them."""
    return Wait.objects.filter(task__in=tasks, outcome="").order_by("pk")


def first_that_fits(given: Sequence[Given], waits: Sequence[Wait]) -> tuple[str, Mapping[str, Any]] | None:
    """The first of the given events for which somebody waits."""
    for name, data in given:
        if data is not None and any(wait.event == name and matches(wait.match, dict(data)) for wait in waits):
            return name, data
    return None


def ending_by(moment: datetime | None, waits: Sequence[Wait]) -> list[Wait]:
    """The waits that come to their end by then; when nothing else is ahead, all of them. Not those that cancel."""
    steps = Step.objects.filter(
        task__in={wait.task_id for wait in waits}, kind=StepKind.WAIT, status=StepStatus.WAITING
    )
    ending = {
        (step.task_id, step.key) for step in steps if moment is None or step.until is None or step.until <= moment
    }
    return [wait for wait in waits if (wait.task_id, wait.step_key) in ending]


def send(name: str, data: Mapping[str, Any]) -> None:
    """Send an event and let it reach those who wait, also inside a test's transaction that never commits."""
    route.route(event_sending.send(name, dict(data)).pk)


def missing(waits: Sequence[Wait], unsent: Sequence[Given]) -> str:
    """The sentence about events that are waited for and were not given."""
    wanted = " or ".join(words(wait) for wait in waits)
    name = waits[0].event
    told = f'It waits for {wanted}, and no such event was given: add ("{name}", {{…}}) to events, '
    told += f'or ("{name}", None) to let its time run out.'
    if unsent:
        told += f" Given and not used: {', '.join(f'{each} {shown(data)}' for each, data in unsent)}."
    return told


def words(wait: Wait) -> str:
    """An event and what must be in it."""
    match = " and ".join(f"{path} = {codec.write(value)}" for path, value in wait.match.items())
    return f"event {wait.event!r} with {match}" if match else f"event {wait.event!r}"


def shown(data: Mapping[str, Any] | None) -> str:
    """An event's data, for people."""
    return "(not to come)" if data is None else codec.write(dict(data))
