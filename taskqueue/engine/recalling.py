"""Recalling: what a record means to the code of now."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from taskqueue.definitions import KEY_MAX_LENGTH, StepDefinition
from taskqueue.engine.journal import Entry
from taskqueue.errors import OutputChanged, StepFailed, WrongPlace


def step_failure_in(error: BaseException) -> StepFailed | None:
    """The failed step that ends a body, also from among the errors of an `asyncio.TaskGroup`."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(step_failure_in, error.exceptions)), None)
    return error if isinstance(error, StepFailed) else None


def recall(step: StepDefinition, key: str, entry: Entry) -> Any:
    """A recorded output with its types.

    Raises:
        OutputChanged: the step's annotation has changed since, and the output no longer fits.
    """
    try:
        return step.result.read(entry.output or "null")
    except ValidationError as error:
        raise OutputChanged(f"The recorded output of step {key!r} no longer fits its annotation: {error}") from error


def checked_key(key: str) -> str:
    """The key itself, if a step's row can hold it.

    Raises:
        WrongPlace: it cannot.
    """
    if not 0 < len(key) <= KEY_MAX_LENGTH or not key.isprintable():
        raise WrongPlace(f"A step's key has 1 to {KEY_MAX_LENGTH} printable characters, not {key!r}.")
    return key
