"""Checks of definitions. Each raises DefinitionError, with a hint, where the author wrote the definition."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from typing import get_origin

from taskqueue.definitions.pipelines import PipelineDefinition
from taskqueue.durations import duration_of
from taskqueue.errors import DefinitionError, TaskqueueError
from taskqueue.json_values import typed
from taskqueue.policies import Retry

STEP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
KEY_MAX_LENGTH = 200
NAME_MAX_LENGTH = 190
"""Of a name that becomes a key: this leaves room for a suffix such as #2."""
VERSION_MAX_LENGTH = 50


def check_function(function: object, what: str, *, decorator: str) -> None:
    if not inspect.isfunction(function):
        raise DefinitionError(
            f"{what} is not a function.", hint=f"Put {decorator} on a def, as its outermost decorator."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{what} is a generator.", hint="Return a list instead of yielding.")
    if next(iter(inspect.signature(function).parameters), "") in {"self", "cls"}:
        raise DefinitionError(f"{what} is a method.", hint="Make it a function of the module.")


def check_retry(retry: object, what: str) -> None:
    if not isinstance(retry, Retry):
        raise DefinitionError(
            f"{what} has retry={retry!r}.", hint="Give it a Retry, such as Retry.fixed(…) or Retry.never()."
        )


def check_timeout(timeout: object, what: str) -> timedelta | None:
    hint = "A timeout is a positive timedelta or number of seconds."
    try:
        duration = None if timeout is None else duration_of(timeout, "A timeout")
    except ValueError as error:
        raise DefinitionError(f"{what} has a timeout of {timeout!r}.", hint=hint) from error
    if duration is not None and duration <= timedelta(0):
        raise DefinitionError(f"{what} has a timeout of {timeout}.", hint=hint)
    return duration


def check_version(version: object, what: str) -> None:
    if not isinstance(version, str) or len(version) > VERSION_MAX_LENGTH or not version.isprintable():
        raise DefinitionError(
            f"{what} has the version {version!r}.", hint=f"Use up to {VERSION_MAX_LENGTH} printable characters."
        )


def check_start_options(definition: PipelineDefinition) -> None:
    """Refuse a batch that cannot be passed as one list, and a cron for a pipeline that needs arguments."""
    if definition.policies.batch is not None:
        _check_batch(definition)
    if definition.policies.cron is not None:
        _check_cron(definition)


def _check_batch(definition: PipelineDefinition) -> None:
    hints = typed.hints_of(definition.function)
    kinds = [hints.get(name) for name in definition.payload.signature.parameters]
    if len(kinds) != 1 or not (kinds[0] is list or get_origin(kinds[0]) is list):
        raise DefinitionError(
            f"Pipeline {definition.name!r} has a batch and not exactly one list as its parameter.",
            hint="It gets the items of all requests: write def function(items: list[Item]).",
        )


def _check_cron(definition: PipelineDefinition) -> None:
    what = f"Pipeline {definition.name!r} has a cron"
    parameters = definition.payload.signature.parameters.values()
    needed = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    if needed:
        raise DefinitionError(
            f"{what} and needs {', '.join(needed)}.",
            hint="Cron passes no arguments: give each parameter a default. "
            "current_task().scheduled_for is the scheduled time.",
        )
    try:
        definition.payload.pack((), {})
    except TaskqueueError as error:
        raise DefinitionError(f"{what}, and its defaults do not fit: {error}", hint="Correct the defaults.") from error
