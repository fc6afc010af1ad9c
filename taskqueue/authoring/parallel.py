"""Parallel steps: calls that run at the same time, on any workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, cast, overload

from pydantic import ValidationError

from taskqueue.authoring.call_context import calling_task, in_event_loop
from taskqueue.conf import settings
from taskqueue.context import Resolution, Suspension
from taskqueue.errors import GatherFailed, OutputChanged, StepFailed, TooManyParallelSteps
from taskqueue.json_values import codec

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
Errors = Literal["raise", "collect"]
Collect = Literal["collect"]


@dataclass(frozen=True)
class Deferred(Generic[R_co]):
    """A call that has not been made yet; `gather` makes several at once."""

    name: str
    key: str
    pause: Callable[[], Suspension]
    """Makes the request to the engine."""
    read: Callable[[str], R_co]
    """Reads its recorded result."""
    call: Callable[[], Any]
    """Makes the plain call, outside of tasks."""


@overload
def gather(a: Deferred[A], /, *, errors: Literal["raise"] = ...) -> tuple[A]: ...
@overload
def gather(a: Deferred[A], b: Deferred[B], /, *, errors: Literal["raise"] = ...) -> tuple[A, B]: ...
@overload
def gather(a: Deferred[A], b: Deferred[B], c: Deferred[C], /, *, errors: Literal["raise"] = ...) -> tuple[A, B, C]: ...
@overload
def gather(
    a: Deferred[A], b: Deferred[B], c: Deferred[C], d: Deferred[D], /, *, errors: Literal["raise"] = ...
) -> tuple[A, B, C, D]: ...
@overload
def gather(
    a: Deferred[A], b: Deferred[B], c: Deferred[C], d: Deferred[D], e: Deferred[E], /, *, errors: Literal["raise"] = ...
) -> tuple[A, B, C, D, E]: ...
@overload
def gather(a: Deferred[A], /, *, errors: Collect) -> tuple[A | StepFailed]: ...
@overload
def gather(a: Deferred[A], b: Deferred[B], /, *, errors: Collect) -> tuple[A | StepFailed, B | StepFailed]: ...
@overload
def gather(
    a: Deferred[A], b: Deferred[B], c: Deferred[C], /, *, errors: Collect
) -> tuple[A | StepFailed, B | StepFailed, C | StepFailed]: ...
@overload
def gather(*calls: Deferred[R], errors: Literal["raise"] = ...) -> tuple[R, ...]: ...
@overload
def gather(*calls: Deferred[R], errors: Collect) -> tuple[R | StepFailed, ...]: ...


def gather(*calls: Deferred[Any], errors: Errors = "raise") -> tuple[Any, ...]:
    """Make several calls at the same time, on any workers, and wait for all of them without occupying a worker.

    Args:
        calls: what `step.defer(…)` and `pipeline.defer(…)` return.
        errors: "raise" a GatherFailed when all have ended and one has failed, or "collect" each StepFailed as a result.

    Returns:
        The results in the order of the calls. Outside of tasks they are called here, one after the other.

    Raises:
        GatherFailed: with all outcomes.
        TooManyParallelSteps: more than PARALLEL_STEPS_MAX.
        InvalidContext: called inside a step.
    """
    return tuple(run_parallel(calls, errors=errors, what="gather()"))


@overload
def each(
    step: Callable[[T], Coroutine[Any, Any, R]],
    items: Iterable[T],
    *,
    limit: int | None = ...,
    errors: Literal["raise"] = ...,
    key: Callable[[T], str] | None = ...,
) -> list[R]: ...
@overload
def each(
    step: Callable[[T], Coroutine[Any, Any, R]],
    items: Iterable[T],
    *,
    errors: Collect,
    limit: int | None = ...,
    key: Callable[[T], str] | None = ...,
) -> list[R | StepFailed]: ...
@overload
def each(
    step: Callable[[T], R],
    items: Iterable[T],
    *,
    limit: int | None = ...,
    errors: Literal["raise"] = ...,
    key: Callable[[T], str] | None = ...,
) -> list[R]: ...
@overload
def each(
    step: Callable[[T], R],
    items: Iterable[T],
    *,
    errors: Collect,
    limit: int | None = ...,
    key: Callable[[T], str] | None = ...,
) -> list[R | StepFailed]: ...


def each(
    step: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    limit: int | None = None,
    errors: Errors = "raise",
    key: Callable[[Any], str] | None = None,
) -> list[Any]:
    """Call a step for each item at the same time, on any workers, and wait for all without occupying a worker.

    Args:
        step: a step of one argument.
        items: its arguments. Without a key, their order must not change when the body runs again.
        limit: at most so many at a time.
        errors: as for `gather`.
        key: identifies an item's step by the item instead of by its position.

    Returns:
        The results in the order of the items.

    Raises:
        GatherFailed, TooManyParallelSteps, InvalidContext: as for `gather`.
        ValueError: the limit is below one.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"The limit of each() is a number from 1, not {limit}.")
    defer = getattr(step, "defer", None)
    if defer is None:
        raise TypeError(f"each() takes a step, not {step!r}. Decorate the function with @step.")
    calls = []
    for item in items:
        call: Deferred[Any] = defer(item)
        calls.append(call if key is None else replace(call, key=f"{call.key or call.name}:{key(item)}"[:200]))
    return run_parallel(calls, errors=errors, what="each()", limit=limit)


def run_parallel(calls: Sequence[Deferred[Any]], *, errors: Errors, what: str, limit: int | None = None) -> list[Any]:
    task = calling_task(what)
    most = settings().PARALLEL_STEPS_MAX
    if task is not None and len(calls) > most:
        raise TooManyParallelSteps(len(calls), most)
    if not calls:
        return []
    if task is None:
        outcomes = [call_directly(call) for call in calls]
    else:
        pauses = [pause_of(call, limit) for call in calls]
        outcomes = [outcome_of(call, recorded) for call, recorded in zip(calls, task.suspend(pauses), strict=True)]
    if errors == "raise" and any(isinstance(outcome, StepFailed) for outcome in outcomes):
        raise GatherFailed(outcomes)
    return outcomes


def call_child(call: Deferred[Any], *, is_async: bool) -> Any:
    """In a body: the result of a child, to be awaited in an async pipeline. Outside of tasks: a plain call.

    Raises:
        StepFailed: the child failed, was cancelled, exceeded its timeout or could not be created.
        InvalidContext: called inside a step.
    """
    task = calling_task(f"Pipeline {call.name!r}")
    if task is None:
        return call.call()
    (recorded,) = task.suspend([pause_of(call, None)])
    outcome = outcome_of(call, recorded)
    if isinstance(outcome, StepFailed):
        raise outcome
    return awaitable(outcome) if is_async else outcome


async def awaitable(value: object) -> object:
    return value


def pause_of(call: Deferred[Any], limit: int | None) -> Suspension:
    pause = replace(call.pause(), name=call.name, explicit_key=call.key)
    if limit is None or pause.child_spec is None:
        return pause
    return replace(pause, child_spec=replace(pause.child_spec, limit=limit))


def outcome_of(call: Deferred[R], recorded: Resolution) -> R | StepFailed:
    """Return the result of a call, or its failure.

    Raises:
        OutputChanged: the annotation has changed, and the recorded output no longer fits.
    """
    if recorded.error is not None:
        error = codec.read(recorded.error)
        return StepFailed(recorded.key, error.get("type", ""), error.get("message", ""))
    try:
        return call.read(recorded.output or "null")
    except ValidationError as error:
        raise OutputChanged(
            f"The recorded output of step {recorded.key!r} no longer fits its annotation: {error}"
        ) from error


def call_directly(call: Deferred[R]) -> R | StepFailed:
    try:
        value = call.call()
        return cast("R", run(value) if asyncio.iscoroutine(value) else value)
    except StepFailed as error:
        return error
    except Exception as error:  # noqa: BLE001 - any error of the author's function is its outcome
        failed = StepFailed(call.key or call.name, type(error).__qualname__, str(error))
        failed.__cause__ = error
        return failed


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine to its end; inside a running event loop in a thread of its own."""
    if not in_event_loop():
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
