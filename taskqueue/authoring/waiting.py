"""Wait for events without occupying a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

from pydantic import TypeAdapter, ValidationError

from taskqueue.authoring.call_context import calling_task
from taskqueue.authoring.questions import question_of
from taskqueue.authoring.sleeping import MAX_WAIT
from taskqueue.context import Awaited, Question, Resolution, Suspension
from taskqueue.definitions import NAME_MAX_LENGTH
from taskqueue.durations import Duration, duration_of
from taskqueue.errors import InvalidContext, InvalidEventData, OutputChanged
from taskqueue.json_values import codec
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
    question: Question | None = None
    """Set by `wait_for`, with assignees."""


@dataclass(frozen=True)
class Arrived(Generic[T]):
    """The first of several events.

    Attributes:
        index: its position among the arguments of `wait_any`, from 0.
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
    """Describe one of the events for which `wait_any` waits.

    Args:
        name: the event's name.
        model: the type of its data: a model, or another type that pydantic reads.
        match: dotted paths in its data, and the values that they must have; empty for any data.

    Raises:
        ValueError: the name or the match is not valid.
    """
    if not is_event_name(name):
        raise ValueError(f"An event's name has 1 to {EVENT_NAME_MAX} printable characters and no spaces, not {name!r}.")
    check_match(match or {})
    if model is not None:
        reader_of(model)
    return EventOf(name, dict(match or {}), model)


@lru_cache(maxsize=256)
def reader_of(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


@overload
def wait_for(
    event: str,
    *,
    timeout: Duration,
    model: type[T],
    match: Mapping[str, Any] | None = None,
    name: str | None = None,
    assignees: Sequence[str] = (),
    question: str = "",
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
    assignees: Sequence[str] = (),
    question: str = "",
) -> Any:
    """Wait for an event, without occupying a worker. With assignees a person may answer instead.

    An event counts if it came after the task was created, even before the task waited for it. Each event ends one
    wait of a task: a second `wait_for` waits for the next event.

    Args:
        event: its name.
        timeout: how long, from the first call.
        model: the type of its data: a model, or another type that pydantic reads; a dict by default.
        match: dotted paths in its data, and the values that they must have.
        name: the key of the wait's record; the event's name by default.
        assignees: names of users, and `group:NAME` for groups. They find a form in the admin, made of the model, under
            "Waiting for you". Users with the permission to retry tasks of the pipeline may answer too.
        question: shown above the form; the event's name by default.

    Returns:
        The event's data, or the answer; None when neither came in time.

    Raises:
        ValueError: the timeout, the match, an assignee or the question is not valid, or assignees have no model.
        InvalidEventData: its data does not match the model. This is not retried; a body that catches it may wait for
            the next event.
        InvalidContext: called in a step, or outside of tasks.
    """
    awaited: EventOf[Any] = event_of(event, match=match) if model is None else event_of(event, match=match, model=model)
    awaited = replace(awaited, question=question_of(model, assignees, question))
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
    """Wait for the first of several events; it closes the other waits.

    Returns:
        The event that came first, with its data; None when none came in time.

    Raises:
        ValueError: there are no events, or the timeout is not above 0 and at most ten years.
        InvalidEventData, InvalidContext: as in `wait_for`.
    """
    if not events:
        raise ValueError("wait_any() needs at least one event.")
    timeout = duration_of(timeout, "The timeout of a wait")
    if not timedelta(0) < timeout <= MAX_WAIT:
        raise ValueError(f"The timeout of a wait is a timedelta above 0, of at most {MAX_WAIT.days:,} days.")
    what = " or ".join(event.name for event in events)[:NAME_MAX_LENGTH] if name is None else name
    task = calling_task(f"A wait for {what!r}")
    if task is None:
        raise InvalidContext(
            f"A wait for {what!r} was called outside of tasks, where no event can end it. "
            "In tests, use taskqueue.testing.run_inline(…, events=[…])."
        )
    shown = [{"event": event.name, "match": dict(event.match)} for event in events]
    awaited = tuple(Awaited(event=event.name, match=event.match, question=event.question) for event in events)
    written = codec.write({"events": shown, "seconds": timeout.total_seconds()}, what="match")
    (recorded,) = task.suspend(
        [Suspension(kind=StepKind.WAIT, name=what, delay=timeout, input=written, awaited=awaited)]
    )
    return arrived(events, recorded)


def arrived(events: Sequence[EventOf[Any]], recorded: Resolution) -> Arrived[Any] | None:
    event: Any = codec.read(recorded.output or "null")
    if recorded.error is None and event is None:
        return None
    if not isinstance(event, dict) or not isinstance(index := event.get("index"), int) or index >= len(events):
        raise OutputChanged(
            f"What is recorded of {recorded.key!r} is not the result of this wait: the code has changed. "
            "Give the wait another name, or retry the task from it."
        )
    return Arrived(index, event["name"], read(events[index], event))


def read(awaited: EventOf[Any], event: dict[str, Any]) -> Any:
    model: Any = awaited.model
    if model is None:
        return event["data"]
    try:
        return reader_of(model).validate_json(codec.write(event["data"]))
    except ValidationError as error:
        errors = "; ".join(f"{each.pointer} {each.detail}" for each in codec.field_errors(error)[:3])
        what = f"Event {event['id']} ({event['name']})" if event["id"] else f"The answer of {event.get('answered_by')}"
        raise InvalidEventData(
            f"{what} does not fit {getattr(model, '__name__', model)}: {errors}. "
            "Change the model to accept it and retry the task, or catch InvalidEventData in the body and wait for the "
            "next event."
        ) from error
