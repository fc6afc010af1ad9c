"""Waiting: a task waits for an event, or for the first of several, and holds no worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

from pydantic import TypeAdapter, ValidationError

from taskqueue import codec
from taskqueue.authoring.places import body
from taskqueue.authoring.sleeping import LONGEST
from taskqueue.context import Awaited, Pause, Recorded
from taskqueue.definitions import NAME_MAX_LENGTH
from taskqueue.durations import Duration, duration_of
from taskqueue.errors import InvalidContext, InvalidEventData, OutputChanged
from taskqueue.policies import EVENT_NAME_MAX, check_match, is_event_name
from taskqueue.states import StepKind

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


@dataclass(frozen=True)
class EventOf(Generic[T]):
    """An event that may end a wait; see `event_of`."""

    name: str
    match: Mapping[str, Any] = field(default_factory=dict)
    model: type[T] | None = None


@dataclass(frozen=True)
class Arrived(Generic[T]):
    """Which of several events came first.

    Attributes:
        index: its place among those that were waited for, from 0.
        name: its name.
        value: its data, as its model if one was given.
    """

    index: int
    name: str
    value: T


@overload
def event_of(name: str, *, model: type[T], match: Mapping[str, Any] | None = None) -> EventOf[T]: ...


@overload
def event_of(name: str, *, match: Mapping[str, Any] | None = None) -> EventOf[dict[str, Any]]: ...


def event_of(name: str, *, model: Any = None, match: Mapping[str, Any] | None = None) -> EventOf[Any]:
    """One of the events for which `wait_any` waits.

    Args:
        name: the event's name.
        model: what its data is read as: a model, or another type that pydantic reads.
        match: dotted paths in its data, and the values that must be there; none: any data.

    Raises:
        ValueError: the name or the match cannot be.
    """
    if not is_event_name(name):
        raise ValueError(f"An event's name has 1 to {EVENT_NAME_MAX} printable characters and no spaces, not {name!r}.")
    check_match(match or {})
    if model is not None:
        reader_of(model)
    return EventOf(name, dict(match or {}), model)


@lru_cache(maxsize=256)
def reader_of(model: Any) -> TypeAdapter[Any]:
    """What reads an event's data as this type."""
    return TypeAdapter(model)


@overload
def wait_for(
    event: str, *, timeout: Duration, model: type[T], match: Mapping[str, Any] | None = None, name: str | None = None
) -> T | None: ...


@overload
def wait_for(
    event: str, *, timeout: Duration, match: Mapping[str, Any] | None = None, name: str | None = None
) -> dict[str, Any] | None: ...


def wait_for(
    event: str,
    *,
    timeout: Duration,
    model: type[Any] | None = None,
    match: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Any:
    """Wait for an event, without a worker.

    It is found too if it came after the task was made and before the task waited for it. Each event ends one wait of a
    task: a second `wait_for` waits for the next one.

    Args:
        event: its name.
        timeout: how long, from when the task first comes here.
        model: what its data is read as: a model, or another type that pydantic reads; a dict by default.
        match: dotted paths in its data, and the values that must be there.
        name: by which the wait is recorded; the event's name by default.

    Returns:
        The event's data; None when it did not come in time.

    Raises:
        InvalidEventData: it came, and its data does not fit the model. Not tried again; a body that catches it may wait
            for the next one.
        InvalidContext: called in a step, or outside of tasks.
    """
    awaited: EventOf[Any] = event_of(event, match=match) if model is None else event_of(event, match=match, model=model)
    arrived = wait_any(awaited, timeout=timeout, name=event[:NAME_MAX_LENGTH] if name is None else name)
    return None if arrived is None else arrived.value


@overload
def wait_any(first: EventOf[A], /, *, timeout: Duration, name: str | None = None) -> Arrived[A] | None: ...


@overload
def wait_any(
    first: EventOf[A], second: EventOf[B], /, *, timeout: Duration, name: str | None = None
) -> Arrived[A | B] | None: ...


@overload
def wait_any(
    first: EventOf[A], second: EventOf[B], third: EventOf[C], /, *, timeout: Duration, name: str | None = None
) -> Arrived[A | B | C] | None: ...


@overload
def wait_any(
    first: EventOf[A],
    second: EventOf[B],
    third: EventOf[C],
    fourth: EventOf[D],
    /,
    *,
    timeout: Duration,
    name: str | None = None,
) -> Arrived[A | B | C | D] | None: ...


@overload
def wait_any(
    first: EventOf[Any],
    second: EventOf[Any],
    third: EventOf[Any],
    fourth: EventOf[Any],
    fifth: EventOf[Any],
    /,
    *more: EventOf[Any],
    timeout: Duration,
    name: str | None = None,
) -> Arrived[Any] | None: ...


def wait_any(*events: EventOf[Any], timeout: Duration, name: str | None = None) -> Arrived[Any] | None:
    """Wait for the first of several events; the other waits are closed then.

    Returns:
        Which one came, and its data; None when none came in time.

    Raises:
        ValueError: there is nothing to wait for, or the timeout is nothing or over ten years.
        InvalidEventData, InvalidContext: as in `wait_for`.
    """
    if not events:
        raise ValueError("wait_any() needs at least one event.")
    timeout = duration_of(timeout, "The timeout of a wait")
    if not timedelta(0) < timeout <= LONGEST:
        raise ValueError(f"The timeout of a wait is a timedelta above nothing, of at most {LONGEST.days:,} days.")
    what = " or ".join(event.name for event in events)[:NAME_MAX_LENGTH] if name is None else name
    task = body(f"A wait for {what!r}")
    if task is None:
        raise InvalidContext(
            f"A wait for {what!r} stands outside of tasks, where no event can end it. "
            "In tests, use taskqueue.testing.run_inline(…, events=[…])."
        )
    described = [{"event": event.name, "match": dict(event.match)} for event in events]
    awaited = tuple(Awaited(event=event.name, match=event.match) for event in events)
    written = codec.write({"events": described, "seconds": timeout.total_seconds()}, what="match")
    (recorded,) = task.pause([Pause(kind=StepKind.WAIT, name=what, delay=timeout, input=written, awaited=awaited)])
    return arrived(events, recorded)


def arrived(events: Sequence[EventOf[Any]], recorded: Recorded) -> Arrived[Any] | None:
    """What came; None when nothing did in time.

    Raises:
        InvalidEventData
        OutputChanged: something else is recorded under this key, by another version of the code.
    """
    came = codec.read(recorded.output or "null")
    if recorded.error is None and came is None:
        return None
    if not isinstance(came, dict) or not isinstance(index := came.get("index"), int) or index >= len(events):
        raise OutputChanged(
            f"What is recorded of {recorded.key!r} is no end of this wait: the code has changed since. "
            "Give the wait another name, or retry the task from it."
        )
    return Arrived(index, came["name"], read(events[index], came))


def read(event: EventOf[Any], came: dict[str, Any]) -> Any:
    """An event's data, as its model.

    Raises:
        InvalidEventData
    """
    model: Any = event.model
    if model is None:
        return came["data"]
    try:
        return reader_of(model).validate_json(codec.write(came["data"]))
    except ValidationError as error:
        faults = "; ".join(f"{fault.pointer} {fault.detail}" for fault in codec.faults_of(error)[:3])
        raise InvalidEventData(
            f"Event {came['id']} ({came['name']}) does not fit {getattr(model, '__name__', model)}: {faults}. "
            "Let the model take it and retry the task, or catch InvalidEventData in the body and wait for the next one."
        ) from error
