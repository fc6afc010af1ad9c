"""Checks of definitions. Each error is raised where the author wrote the definition."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta

from taskqueue.durations import duration_of
from taskqueue.errors import DefinitionError
from taskqueue.policies import Retry

STEP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
KEY_MAX_LENGTH = 200
NAME_MAX_LENGTH = 190
"""Of a name that becomes a key: this leaves room for a suffix such as #2."""
VERSION_MAX_LENGTH = 50


def check_function(function: object, what: str, *, decorator: str) -> None:
    """Refuse an object that cannot be a pipeline or a step.

    Raises:
        DefinitionError: it is no plain function of a module.
    """
    if not inspect.isfunction(function):
        raise DefinitionError(
            f"{what} is not a function.", hint=f"Put {decorator} on a def, as its outermost decorator."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{what} is a generator.", hint="Return a list instead of yielding.")
    if next(iter(inspect.signature(function).parameters), "") in {"self", "cls"}:
        raise DefinitionError(f"{what} is a method.", hint="Make it a function of the module.")


def check_retry(retry: object, what: str) -> None:
    """Refuse anything but a Retry.

    Raises:
        DefinitionError: it is no Retry.
    """
    if not isinstance(retry, Retry):
        raise DefinitionError(
            f"{what} has retry={retry!r}.", hint="Give it a Retry, such as Retry.fixed(…) or Retry.never()."
        )


def check_timeout(timeout: object, what: str) -> timedelta | None:
    """Return a timeout as a timedelta.

    Raises:
        DefinitionError: it is no positive duration.
    """
    hint = "A timeout is a positive timedelta or number of seconds."
    try:
        duration = None if timeout is None else duration_of(timeout, "A timeout")
    except ValueError as error:
        raise DefinitionError(f"{what} has a timeout of {timeout!r}.", hint=hint) from error
    if duration is not None and duration <= timedelta(0):
        raise DefinitionError(f"{what} has a timeout of {timeout}.", hint=hint)
    return duration


def check_version(version: object, what: str) -> None:
    """Refuse anything but a short printable text.

    Raises:
        DefinitionError: it is too long or not printable.
    """
    if not isinstance(version, str) or len(version) > VERSION_MAX_LENGTH or not version.isprintable():
        raise DefinitionError(
            f"{what} has the version {version!r}.", hint=f"Use up to {VERSION_MAX_LENGTH} printable characters."
        )
