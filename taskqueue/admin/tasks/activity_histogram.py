"""A histogram of the tasks that ended in the last 24 hours: 96 bars, each a link to its tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.filters import format_time_range
from taskqueue.engine.queries import stats
from taskqueue.engine.queries.stats import Period
from taskqueue.models.rollup import ALL_PIPELINES, QUARTER

BUCKET = timedelta(minutes=15)
BARS = 96
HEIGHT = 44


@dataclass(frozen=True)
class ActivityHistogram:
    svg: SafeString
    summary: str


def histogram_of(
    now: datetime, address: Callable[..., str], *, pipeline: str = "", is_narrowed: bool = False
) -> ActivityHistogram:
    """Draw the histogram of a pipeline, or of all.

    Args:
        address: makes a URL of the list with other parameters, as `ChangeList.get_query_string` does.
        is_narrowed: the list has filters that the histogram ignores, so the summary says what is counted.
    """
    buckets = read_buckets(now, pipeline or ALL_PIPELINES)
    ended, failed = sum(bucket.ended for bucket in buckets), sum(bucket.failed for bucket in buckets)
    top = max(*(bucket.ended for bucket in buckets), 1)
    bars = format_html_join("", "{}", ((bar(number, each, top, address),) for number, each in enumerate(buckets)))
    scope = f" of {pipeline or 'all pipelines'}" if pipeline or is_narrowed else ""
    summary = f"{formats.count_of(ended, 'task')}{scope} ended in 24 hours, {failed:,} failed"
    svg = format_html(
        '<svg class="tq-histogram" role="group" aria-label="Tasks ended in the last 24 hours, a bar per 15 minutes" '
        'width="100%" height="{}" data-roving>{}</svg>',
        HEIGHT,
        bars,
    )
    return ActivityHistogram(svg, summary)


def read_buckets(now: datetime, pipeline: str = ALL_PIPELINES) -> list[Period]:
    """Read the buckets of the last day from the rollups, oldest first, by one query."""
    until = stats.bar_end(now, BUCKET)
    start = until - BUCKET * BARS
    return stats.to_bars(stats.rollups(QUARTER, start, until, pipeline), start, BUCKET, count=BARS)


def bar(number: int, bucket: Period, top: int, address: Callable[..., str]) -> SafeString:
    """One bar as a link. Only the last bar is a tab stop; live.js moves between bars by arrow keys."""
    height = 0.0 if not bucket.ended else max(2.0, HEIGHT * bucket.ended / top)
    counts = f"{formats.count_of(bucket.ended, 'task')} ended, {bucket.failed:,} failed"
    title = f"{bucket.start:%H:%M} to {bucket.end:%H:%M} UTC: {counts}"
    failed = 0.0 if not bucket.failed else max(2.0, height * bucket.failed / bucket.ended)
    return format_html(
        '<a href="{}" tabindex="{}" aria-label="{}"><title>{}</title>'
        '<rect class="tq-histogram-slot" x="{}%" width="{}%" y="{}" height="{}"></rect>'
        '<rect class="tq-histogram-ended" x="{}%" width="{}%" y="{}" height="{}"></rect>'
        '<rect class="tq-histogram-failed" x="{}%" width="{}%" y="{}" height="{}"></rect></a>',
        address({"ended": format_time_range(bucket.start, bucket.end)}, ["created", "id__lt"]),
        0 if number == BARS - 1 else -1,
        title,
        title,
        *rectangle(number, 0, HEIGHT),
        *rectangle(number, HEIGHT - height, height - failed),
        *rectangle(number, HEIGHT - failed, failed),
    )


def rectangle(number: int, top: float, height: float) -> tuple[str, str, str, str]:
    return f"{number * 100 / BARS:.3f}", f"{78 / BARS:.3f}", f"{top:.1f}", f"{height:.1f}"
