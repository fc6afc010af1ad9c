"""Waiting: a task waits for an event, or for the first of several, and holds no worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel, ValidationError

from taskqueue import codec
from taskqueue.authoring.places import body
from taskqueue.authoring.sleeping import LONGEST
from taskqueue.context import Awaited, Pause
from taskqueue.errors import EventDoesNotFit, WrongPlace
from taskqueue.policies import check_match, is_event_name
from taskqueue.states import StepKind

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class EventOf(Generic[M]):
    """An event that may end a wait; see `event_of`."""

    name: str
    match: Mapping[str, Any] = field(default_factory=dict)
    model: type[M] | None = None


@dataclass(frozen=True)
class Arrived:
    """Which of several events came first.

    Attributes:
        index: its place among those that were waited for, from 0.
        name: its name.
        value: its data, as its model if one was given.
    """

    index: int
    name: str
    value: Any


def event_of(name: str, *, match: Mapping[str, Any] | None = None, model: type[M] | None = None) -> EventOf[M]:
    """One of the events for which `wait_any` waits.

    Args:
        name: the event's name.
        match: dotted paths in its data, and the values that must be there; none: any data.
        model: what its data is read as.

    Raises:
        ValueError: the name or the match cannot be.
    """
    if not is_event_name(name):
        raise ValueError(f"An event's name has 1 to 200 printable characters and no spaces, not {name!r}.")
    check_match(match or {})
    return EventOf(name, dict(match or {}), model)


@overload
def wait_for(
    event: str, *, timeout: timedelta, model: type[M], match: Mapping[str, Any] | None = None, name: str | None = None
) -> M | None: ...


@overload
def wait_for(
    event: str, *, timeout: timedelta, match: Mapping[str, Any] | None = None, name: str | None = None
) -> dict[str, Any] | None: ...


def wait_for(
    event: str,
    *,
    timeout: timedelta,
    model: type[BaseModel] | None = None,
    match: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Any:
    """Wait for an event, without a worker.

    It is found too if it came after the task was made and before the task waited for it. Each event ends one wait of a
    task: a second `wait_for` waits for the next one.

    Args:
        event: its name.
        timeout: how long, from when the task first comes here.
        model: what its data is read as; a dict by default.
        match: dotted paths in its data, and the values that must be there.
        name: by which the wait is recorded; the event's name by default.

    Returns:
        The event's data; None when it did not come in time.

    Raises:
        EventDoesNotFit: it came, and its data does not fit the model. Not tried again.
        WrongPlace: called in a step, or outside of tasks.
    """
    arrived = wait_any(event_of(event, match=match, model=model), timeout=timeout, name=name or event)
    return None if arrived is None else arrived.value


def wait_any(*events: EventOf[Any], timeout: timedelta, name: str | None = None) -> Arrived | None:
    """Wait for the first of several events; the other waits are closed then.

    Returns:
        Which one came, and its data; None when none came in time.

    Raises:
        ValueError: there is nothing to wait for, or the timeout is nothing or over ten years.
        EventDoesNotFit, WrongPlace: as in `wait_for`.
    """
    if not events:
        raise ValueError("wait_any() needs at least one event.")
    if not timedelta(0) < timeout <= LONGEST:
        raise ValueError(f"The timeout of a wait is a timedelta above nothing, of at most {LONGEST.days:,} days.")
    what = name or " or ".join(event.name for event in events)[:150]
    task = body(f"A wait for {what!r}")
    if task is None:
        raise WrongPlace(
            f"A wait for {what!r} stands outside of tasks, where no event can end it. "
            "In tests, use taskqueue.testing.run_inline(…, events=[…])."
        )
    described = [{"event": event.name, "match": dict(event.match)} for event in events]
    awaited = tuple(Awaited(event=event.name, match=event.match) for event in events)
    written = codec.write({"events": described, "seconds": timeout.total_seconds()}, what="match")
    (recorded,) = task.pause([Pause(kind=StepKind.WAIT, name=what, delay=timeout, input=written, awaited=awaited)])
    came = codec.read(recorded.output or "null")
    return None if came is None else read(events[came["index"]], came)


def read(event: EventOf[Any], came: dict[str, Any]) -> Arrived:
    """What came, as its model.

    Raises:
        EventDoesNotFit
    """
    if event.model is None:
        return Arrived(came["index"], came["name"], came["data"])
    try:
        return Arrived(came["index"], came["name"], event.model.model_validate(came["data"]))
    except ValidationError as error:
        faults = "; ".join(f"{fault.pointer} {fault.detail}" for fault in codec.faults_of(error)[:3])
        raise EventDoesNotFit(
            f"Event {came['id']} ({came['name']}) does not fit {event.model.__name__}: {faults}. "
            "Correct the model or the sender, and retry the task from this wait."
        ) from error
