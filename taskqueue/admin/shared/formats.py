"""Times, durations and values in people's words. Pure: the present moment is always passed in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.safestring import SafeString

from taskqueue.admin.shared.json_text import coloured

NOTHING = "\N{EN DASH}"
SHOWN_BYTES = 64 * 1024
LINE_LENGTH = 200


def duration(length: timedelta | None) -> str:
    """A length of time as `453ms`, `1.9s`, `3m 44s`, `2h 05m` or `3d 04h`; never negative, never rounded up."""
    if length is None:
        return NOTHING
    milliseconds = max(length, timedelta(0)) // timedelta(milliseconds=1)
    if milliseconds == 0:
        return "<1ms" if length > timedelta(0) else "0ms"
    seconds = milliseconds // 1000
    if seconds < 1:
        return f"{milliseconds}ms"
    if seconds < 10:
        return f"{seconds}.{milliseconds % 1000 // 100}s"
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02}h"


def between(start: datetime | None, end: datetime | None) -> timedelta | None:
    """How long it was from one moment to the other; None when either has not come."""
    return None if start is None or end is None else max(end - start, timedelta(0))


def relative(moment: datetime, now: datetime) -> str:
    """A moment as seen from now: `just now`, `42s ago`, `in 13m`."""
    seconds = int((moment - now).total_seconds())
    if seconds == 0:
        return "just now"
    text = largest_unit(abs(seconds))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def due(verb: str, moment: datetime, now: datetime) -> str:
    """What happens at a moment, as seen from now: `runs in 13m`; once it has come, `due now`."""
    return f"{verb} {relative(moment, now)}" if int((moment - now).total_seconds()) > 0 else "due now"


def largest_unit(seconds: int) -> str:
    """A number of seconds in the largest unit that it fills."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def exact(moment: datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def second(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return f"{moment.astimezone(UTC):%b %d, %H:%M:%S} UTC"


def minute(moment: datetime) -> str:
    """A moment in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%b %d, %H:%M} UTC"


def waits(seconds: Sequence[float]) -> str:
    """A retry policy in words."""
    if not seconds:
        return "no retries"
    lengths = ", ".join(wait_length(wait) for wait in seconds)
    return f"up to 1 retry ({lengths})" if len(seconds) == 1 else f"up to {len(seconds)} retries ({lengths})"


def wait_length(seconds: float) -> str:
    """One wait without the units that are zero: `5m`, `15h 25m`, `1.5s`."""
    if seconds < 60:
        return f"{seconds:g}s"
    rest = int(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts)


def history(keep: timedelta | None, pruned: int, last: datetime | None) -> str:
    """How long ended tasks are kept, and how many have been pruned since."""
    kept = "kept for ever" if keep is None else f"kept for {wait_length(keep.total_seconds())} after their end"
    if last is None:
        return f"Ended tasks are {kept}. None has been pruned yet."
    return f"Ended tasks are {kept}. Pruned: {pruned:,} in all, the last {exact(last)}."


def capped(number: int, most: int) -> str:
    """A number of rows that were counted up to one more than `most`."""
    return f"{most:,}+" if number > most else f"{number:,}"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 task`, `2 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def first_line(text: str) -> str:
    """The beginning of a message, on one line and of bounded length."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= LINE_LENGTH else line[: LINE_LENGTH - 1] + "…"


def id_tail(identifier: object) -> str:
    """The end of an id, which tells neighbours apart: the beginning is the time and much alike."""
    return "…" + str(identifier)[-6:]


@dataclass(frozen=True)
class Excerpt:
    """A JSON value laid out for reading, cut when it is very large.

    Attributes:
        text: the JSON, indented.
        size: of the whole, in bytes.
        is_cut: whether the text is only its beginning.
        address: where all of it can be had.
    """

    text: str
    size: int
    is_cut: bool
    address: str = ""

    @property
    def shown(self) -> int:
        """How many bytes the text has."""
        return len(self.text.encode())

    @property
    def markup(self) -> SafeString:
        """The text in colours."""
        return coloured(self.text)


def excerpt(value: Any) -> Excerpt:
    """A value as indented JSON; of one that is larger than 64 KB the beginning."""
    whole = json.dumps(value, indent=2, ensure_ascii=False)
    encoded = whole.encode()
    if len(encoded) <= SHOWN_BYTES:
        return Excerpt(whole, len(encoded), is_cut=False)
    return Excerpt(encoded[:SHOWN_BYTES].decode(errors="ignore"), len(encoded), is_cut=True)


def excerpt_of(beginning: str, size: int, *, address: str = "") -> Excerpt:
    """JSON text of which the database gave the beginning: laid out if that is all of it."""
    if len(beginning.encode()) < size:
        return Excerpt(beginning, size, is_cut=True, address=address)
    return replace(excerpt(json.loads(beginning)), address=address)
