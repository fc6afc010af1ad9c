"""Durations: a timedelta, or a number of seconds."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeAlias

Duration: TypeAlias = timedelta | int | float


def duration_of(value: object, what: str) -> timedelta:
    """A duration as a timedelta; `what` names it in error messages.

    Raises:
        ValueError: the value is neither a timedelta nor a number of seconds. A bool is not a number here.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        try:
            return timedelta(seconds=value)
        except OverflowError:
            raise ValueError(f"{what} of {value!r} seconds is too long.") from None
    raise ValueError(
        f"{what} is a timedelta or a number of seconds, such as timedelta(minutes=5) or 300, not {value!r}."
    )
