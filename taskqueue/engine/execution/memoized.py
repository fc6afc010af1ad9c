"""Recalling: what a record means to the code of now."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from taskqueue.context import Pause
from taskqueue.definitions import KEY_MAX_LENGTH, StepDefinition
from taskqueue.engine.execution.journal import Entry, Journal
from taskqueue.engine.runtime.outcomes import Paused
from taskqueue.errors import InvalidContext, OutputChanged, StepFailed
from taskqueue.states import StepKind, StepStatus


def step_failure_in(error: BaseException) -> StepFailed | None:
    """The failed step that ends a body, also from among the errors of an `asyncio.TaskGroup`."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(step_failure_in, error.exceptions)), None)
    return error if isinstance(error, StepFailed) else None


def memoized_value(step: StepDefinition, key: str, entry: Entry) -> Any:
    """A recorded output with its types.

    Raises:
        OutputChanged: the step's annotation has changed since, and the output no longer fits.
    """
    try:
        return step.result.read(entry.output or "null")
    except ValidationError as error:
        raise OutputChanged(f"The recorded output of step {key!r} no longer fits its annotation: {error}") from error


def under_way_elsewhere(key: str, journal: Journal) -> Paused | None:
    """What a plain call has to wait for when the body made it a parallel one before; None when it can be made.

    The other open ones are kept too: the body may call them next, and a second call of what runs already would have its
    effect twice.
    """
    found = {
        each: entry.kind
        for each, entry in journal.entries.items()
        if entry.status == StepStatus.WAITING and entry.kind in (StepKind.PARALLEL, StepKind.CHILD)
    }
    if key not in found:
        return None
    pauses = tuple(Pause(kind=StepKind(kind), name=each, key=each) for each, kind in found.items())
    return Paused(pauses, journal.output_bytes)


def checked_key(key: str) -> str:
    """The key itself, if a step's row can hold it.

    Raises:
        InvalidContext: it cannot.
    """
    if not 0 < len(key) <= KEY_MAX_LENGTH or not key.isprintable():
        raise InvalidContext(f"A step's key has 1 to {KEY_MAX_LENGTH} printable characters, not {key!r}.")
    return key
