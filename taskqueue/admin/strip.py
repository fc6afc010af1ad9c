"""The last day in 96 bars of a quarter of an hour, each of which leads to its tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin import formats
from taskqueue.admin.asked import SLICE
from taskqueue.engine import statements
from taskqueue.ids import uuid_at

LENGTH = timedelta(minutes=15)
BARS = 96
COUNTED = 500
"""A bar tells of at most so many tasks."""
HEIGHT = 44


@dataclass(frozen=True)
class Slice:
    """A quarter of an hour: how many tasks were made in it, and how many of them have failed."""

    begins_at: datetime
    made: int
    failed: int

    @property
    def ends_at(self) -> datetime:
        """Where the next one begins."""
        return self.begins_at + LENGTH


@dataclass(frozen=True)
class Strip:
    """The bars as a drawing, and its words."""

    drawing: SafeString
    summary: str


def strip_counts(now: datetime) -> list[Slice]:
    """The slices of the last day, oldest first. By ranges of ids and counted up to a limit, so it scans nothing."""
    seconds = int(LENGTH.total_seconds())
    last = datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)
    begins = [last - LENGTH * back for back in reversed(range(BARS))]
    values = {
        "lows": [uuid_at(begin) for begin in begins],
        "highs": [uuid_at(begin + LENGTH) for begin in begins],
        "limit": COUNTED,
    }
    rows = statements.fetch(statements.SLICES, values)
    return [Slice(begin, made, min(failed, made)) for begin, (_number, made, failed) in zip(begins, rows, strict=True)]


def strip_of(now: datetime, address: Callable[..., str]) -> Strip:
    """The drawing, by what makes an address of the list."""
    slices = strip_counts(now)
    made, failed = sum(each.made for each in slices), sum(each.failed for each in slices)
    most = max(*(each.made for each in slices), 1)
    bars = format_html_join("", "{}", ((bar(number, each, most, address),) for number, each in enumerate(slices)))
    summary = f"{formats.count_of(made, 'task')} in 24 hours, {failed:,} failed"
    drawing = format_html(
        '<svg class="tq-strip" role="group" aria-label="Tasks made in the last 24 hours, a bar for each 15 minutes" '
        'width="100%" height="{}" data-roving>{}</svg>',
        HEIGHT,
        bars,
    )
    return Strip(drawing, summary)


def bar(number: int, part: Slice, most: int, address: Callable[..., str]) -> SafeString:
    """One slice as a link with its two parts. Of all bars the last alone is a stop of the tab key."""
    height = 0.0 if not part.made else max(2.0, HEIGHT * part.made / most)
    red = 0.0 if not part.failed else max(2.0, height * part.failed / part.made)
    ends = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (part.begins_at, part.ends_at))
    return format_html(
        '<a href="{}" tabindex="{}" aria-label="{}"><title>{}</title>'
        '<rect class="tq-strip-slot" x="{}%" width="{}%" y="{}" height="{}"></rect>'
        '<rect class="tq-strip-made" x="{}%" width="{}%" y="{}" height="{}"></rect>'
        '<rect class="tq-strip-failed" x="{}%" width="{}%" y="{}" height="{}"></rect></a>',
        address(dict(zip(SLICE, ends, strict=True)), ["created", "id__lt"]),
        0 if number == BARS - 1 else -1,
        words(part),
        words(part),
        *place(number, 0, HEIGHT),
        *place(number, HEIGHT - height, height - red),
        *place(number, HEIGHT - red, red),
    )


def place(number: int, top: float, height: float) -> tuple[str, str, str, str]:
    """Where a rectangle of a bar is, and how large."""
    return f"{number * 100 / BARS:.3f}", f"{78 / BARS:.3f}", f"{top:.1f}", f"{height:.1f}"


def words(part: Slice) -> str:
    """What a bar says."""
    more = "+" if part.made >= COUNTED else ""
    made = f"{part.made}{more} {'task' if part.made == 1 and not more else 'tasks'}"
    return f"{part.begins_at:%H:%M} to {part.ends_at:%H:%M} UTC: {made}, {part.failed} failed"
