"""Checks that several policies share. Each raises ValueError with a sentence that says what is taken."""

from __future__ import annotations

from datetime import timedelta

MILLISECOND = timedelta(milliseconds=1)


def check_whole(name: str, value: object, *, least: int, most: int) -> None:
    """Refuse anything but a whole number within its bounds; True is not 1 here."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is a whole number from {least:,} to {most:,}, not {value!r}.")


def check_time(name: str, value: object, *, days: int) -> None:
    """Refuse anything but a timedelta from one millisecond to so many days."""
    if not isinstance(value, timedelta):
        raise ValueError(f"{name} is a timedelta, such as timedelta(seconds=30), not {value!r}.")  # noqa: TRY004
    if not MILLISECOND <= value <= timedelta(days=days):
        raise ValueError(f"{name} is from 1 millisecond to {days:,} days, not {value}.")
