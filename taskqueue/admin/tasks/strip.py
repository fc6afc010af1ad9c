"""The last day in 96 bars of a quarter of an hour, each of which leads to its tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.filters import written_slice
from taskqueue.engine.queries import stats
from taskqueue.models.rollup import ALL_PIPELINES, QUARTER

LENGTH = timedelta(minutes=15)
BARS = 96
HEIGHT = 44


@dataclass(frozen=True)
class Slice:
    """A quarter of an hour: how many tasks ended in it, and how many of them failed."""

    begins_at: datetime
    ended: int
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


def strip_counts(now: datetime, pipeline: str = ALL_PIPELINES) -> list[Slice]:
    """The slices of the last day of all pipelines or of one, oldest first: one query, of the rollups."""
    until = stats.ceiling(now, LENGTH)
    start = until - LENGTH * BARS
    rows = stats.rollups(QUARTER, start, until, pipeline)
    return [Slice(bar.start, bar.ended, bar.failed) for bar in stats.cut(rows, start, LENGTH, count=BARS)]


def strip_of(now: datetime, address: Callable[..., str], *, pipeline: str = "", is_narrowed: bool = False) -> Strip:
    """The drawing, and a sentence with its numbers.

    Args:
        now: where the day ends.
        address: makes an address of the list.
        pipeline: the one that the list is narrowed to, if it is: its tasks are counted.
        is_narrowed: whether the list shows fewer tasks, so that the sentence has to say which ones are counted.
    """
    slices = strip_counts(now, pipeline or ALL_PIPELINES)
    ended, failed = sum(each.ended for each in slices), sum(each.failed for each in slices)
    most = max(*(each.ended for each in slices), 1)
    bars = format_html_join("", "{}", ((bar(number, each, most, address),) for number, each in enumerate(slices)))
    counted = f" of {pipeline or 'all pipelines'}" if pipeline or is_narrowed else ""
    summary = f"{formats.count_of(ended, 'task')}{counted} ended in 24 hours, {failed:,} failed"
    drawing = format_html(
        '<svg class="tq-strip" role="group" aria-label="Tasks that ended in the last 24 hours, a bar for 15 minutes" '
        'width="100%" height="{}" data-roving>{}</svg>',
        HEIGHT,
        bars,
    )
    return Strip(drawing, summary)


def bar(number: int, part: Slice, most: int, address: Callable[..., str]) -> SafeString:
    """One slice as a link with its two parts. Of all bars the last alone is a stop of the tab key."""
    height = 0.0 if not part.ended else max(2.0, HEIGHT * part.ended / most)
    red = 0.0 if not part.failed else max(2.0, height * part.failed / part.ended)
    return format_html(
        '<a href="{}" tabindex="{}" aria-label="{}"><title>{}</title>'
        '<rect class="tq-strip-slot" x="{}%" width="{}%" y="{}" height="{}"></rect>'
        '<rect class="tq-strip-made" x="{}%" width="{}%" y="{}" height="{}"></rect>'
        '<rect class="tq-strip-failed" x="{}%" width="{}%" y="{}" height="{}"></rect></a>',
        address({"ended": written_slice(part.begins_at, part.ends_at)}, ["created", "id__lt"]),
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
    span = f"{part.begins_at:%H:%M} to {part.ends_at:%H:%M} UTC"
    return f"{span}: {formats.count_of(part.ended, 'task')} ended, {part.failed:,} failed"
