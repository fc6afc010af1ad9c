"""Format times, durations, counts and JSON for people. Pure functions: the caller passes the present time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.safestring import SafeString

from taskqueue.admin.shared.json_highlight import highlight

EMPTY_VALUE = "\N{EN DASH}"
EXCERPT_BYTES = 64 * 1024
LINE_LENGTH = 200


def duration(length: timedelta | None) -> str:
    """`453ms`, `1.9s`, `3m 44s`, `2h 05m` or `3d 04h`; rounded down, and `0ms` for a negative length."""
    if length is None:
        return EMPTY_VALUE
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
    """The time between two moments, at least 0; None when either is None."""
    return None if start is None or end is None else max(end - start, timedelta(0))


def relative(moment: datetime, now: datetime) -> str:
    """`just now`, `42s ago` or `in 13m`."""
    seconds = int((moment - now).total_seconds())
    if seconds == 0:
        return "just now"
    text = largest_unit(abs(seconds))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def due(verb: str, moment: datetime, now: datetime) -> str:
    """`runs in 13m`, or `due now` once the moment has passed."""
    return f"{verb} {relative(moment, now)}" if int((moment - now).total_seconds()) > 0 else "due now"


def largest_unit(seconds: int) -> str:
    """Seconds in the largest unit that fits: `42s`, `13m`, `2h`, `3d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def exact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def time_to_second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%b %d, %H:%M:%S} UTC"


def time_to_minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%b %d, %H:%M} UTC"


def retry_policy(delays: Sequence[float]) -> str:
    """A retry policy, from its delays in seconds: `up to 2 retries (5m, 30m)`."""
    if not delays:
        return "no retries"
    text = ", ".join(compact_duration(delay) for delay in delays)
    return f"up to {count_of(len(delays), 'retry', 'retries')} ({text})"


def compact_duration(seconds: float) -> str:
    """A duration without units that are zero: `5m`, `15h 25m`, `1.5s`."""
    if seconds < 60:
        return f"{seconds:g}s"
    rest = int(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts)


def retention_note(keep: timedelta | None, pruned: int, last: datetime | None) -> str:
    """How long ended tasks are kept, how many were pruned, and when the last one was."""
    kept = "kept for ever" if keep is None else f"kept for {compact_duration(keep.total_seconds())} after their end"
    if last is None:
        return f"Ended tasks are {kept}. None has been pruned yet."
    return f"Ended tasks are {kept}. Pruned: {pruned:,} in all, the last {exact(last)}."


def capped(number: int, most: int) -> str:
    """A count of rows that stopped at one more than `most`: `42`, or `1,000+`."""
    return f"{most:,}+" if number > most else f"{number:,}"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """`1 task`, `2 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def first_line(text: str) -> str:
    """The first line of a message that is not blank, cut to `LINE_LENGTH`."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= LINE_LENGTH else line[: LINE_LENGTH - 1] + "…"


def short_id(identifier: object) -> str:
    """The last six characters of a UUIDv7; its first ones are the time, so ids made together share them."""
    return "…" + str(identifier)[-6:]


@dataclass(frozen=True)
class Excerpt:
    """Indented JSON, cut when it is very large; `size` and `address` are those of the whole."""

    text: str
    size: int
    is_cut: bool
    address: str = ""

    @property
    def shown_size(self) -> int:
        return len(self.text.encode())

    @property
    def markup(self) -> SafeString:
        return highlight(self.text)


def excerpt(value: Any) -> Excerpt:
    """A value as indented JSON, cut at 64 KB."""
    whole = json.dumps(value, indent=2, ensure_ascii=False)
    encoded = whole.encode()
    if len(encoded) <= EXCERPT_BYTES:
        return Excerpt(whole, len(encoded), is_cut=False)
    return Excerpt(encoded[:EXCERPT_BYTES].decode(errors="ignore"), len(encoded), is_cut=True)


def excerpt_from_text(beginning: str, size: int, *, address: str = "") -> Excerpt:
    """An excerpt from the beginning of JSON text whose whole size is `size`; indented if nothing is missing."""
    if len(beginning.encode()) < size:
        return Excerpt(beginning, size, is_cut=True, address=address)
    return replace(excerpt(json.loads(beginning)), address=address)
