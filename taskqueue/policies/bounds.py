"""Checks that several policies share. Each raises ValueError with a sentence that says what is accepted."""

from __future__ import annotations

from datetime import timedelta

from taskqueue.durations import duration_of

MILLISECOND = timedelta(milliseconds=1)


def check_whole(name: str, value: object, *, least: int, most: int) -> None:
    """Refuse anything but an int within these bounds; a bool is refused too."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is a whole number from {least:,} to {most:,}, not {value!r}.")


def check_time(name: str, value: object, *, days: int) -> timedelta:
    """Return a duration from one millisecond to so many days as a timedelta; refuse anything else."""
    duration = duration_of(value, name)
    if not MILLISECOND <= duration <= timedelta(days=days):
        raise ValueError(f"{name} is from 1 millisecond to {days:,} days, not {duration}.")
    return duration
