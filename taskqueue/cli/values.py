"""The values of arguments: JSON, times, durations, labels and statuses. Each refusal says what would be accepted."""

from __future__ import annotations

import json
import re
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn
from uuid import UUID

from taskqueue.states import TaskStatus

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def payload(text: str) -> Any:
    """JSON: the text itself, the file after an `@`, or stdin for `-`."""
    source = "stdin" if text == "-" else text[1:] if text.startswith("@") else ""
    try:
        if source:
            text = sys.stdin.read() if text == "-" else Path(source).read_text(encoding="utf-8")
        return json.loads(text, parse_constant=refuse_constant)
    except OSError as error:
        raise ArgumentTypeError(f"{source} cannot be read: {error.strerror}") from error
    except ValueError as error:
        hint = "" if source else '. Give JSON in quotes such as \'{"label": "hello"}\', @FILE, or - for stdin'
        raise ArgumentTypeError(f"{source or 'the payload'} is not JSON: {error}{hint}") from error


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def duration(text: str) -> timedelta:
    """A duration such as 90s, 15m, 2h or 1d."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text, re.ASCII)
    if found is None:
        raise ArgumentTypeError(
            f"{text!r} is no duration: give seconds, minutes, hours or days, such as 90s, 15m or 2h"
        )
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def seconds(text: str) -> float:
    """The seconds of a duration such as 90s."""
    return duration(text).total_seconds()


def moment(sign: int) -> Callable[[str], str]:
    """A parser of times: a time with or without a zone, or a duration before (-1) or after (1) now.

    Returns:
        A function that returns the time in UTC, as the API accepts it.
    """

    def moment_of(text: str) -> str:
        if re.fullmatch(r"[0-9]+[a-z]", text):
            at = datetime.fromtimestamp(time.time(), UTC) + sign * duration(text)
        else:
            try:
                at = datetime.fromisoformat(text).astimezone(UTC)
            except (ValueError, OverflowError):
                raise ArgumentTypeError(
                    f"{text!r} is no time: give one such as 2026-01-31T08:00 (in the zone of this machine), "
                    "2026-01-31T08:00Z, or a duration such as 15m"
                ) from None
        return at.isoformat()

    return moment_of


def label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ArgumentTypeError(f"{text!r} is no label: give a name and a value, such as tenant=acme")
    return name, value


def statuses(text: str) -> list[str]:
    """Statuses with commas between them."""
    names = text.split(",")
    if unknown := [name for name in names if name not in list(TaskStatus)]:
        raise ArgumentTypeError(f"{unknown[0]!r} is no status; there are {', '.join(TaskStatus)}")
    return names


def at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def task_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no id of a task; the verb list shows the ids") from None
