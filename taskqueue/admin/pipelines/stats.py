"""The numbers of a pipeline that the list of pipelines, a pipeline's page and the overview show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.charts import Bar, BarSegment, microbars
from taskqueue.admin.shared.filters import format_time_range
from taskqueue.engine.queries import pipeline_stats, stats
from taskqueue.engine.queries.pipeline_stats import PipelineLoad
from taskqueue.engine.queries.stats import Period, PipelineDay

HIGH_FAILURE_RATE: Final = 0.02
"""A higher share of failed tasks is shown in red."""


@dataclass(frozen=True)
class PipelineStats:
    """The present load of a pipeline, and its last 24 hours."""

    load: PipelineLoad
    day: PipelineDay

    @property
    def durations(self) -> str:
        total = self.day.total
        if not total.decided:
            return formats.EMPTY_VALUE
        return f"{formats.duration(total.duration(0.5))} / {formats.duration(total.duration(0.95))}"

    @property
    def success_rate(self) -> str:
        return success_rate(self.day.total.succeeded, self.day.total.failed)

    @property
    def tone(self) -> str:
        return success_tone(self.day.total.succeeded, self.day.total.failed)

    @property
    def counts(self) -> str:
        total = self.day.total
        if not total.ended:
            return "no task ended"
        failed = f", {total.failed:,} failed" if total.failed else ""
        cancelled = f", {total.cancelled:,} cancelled" if total.cancelled else ""
        return f"{total.ended:,} ended{failed}{cancelled}"

    @property
    def slice(self) -> str:
        """The counted part of the last 24 hours, as the task list's filter takes it."""
        return format_time_range(self.day.total.start, max(self.day.counted_until, self.day.bars[0].end))

    @property
    def bars(self) -> SafeString:
        return bars_of(self.day.bars, self.day.total.succeeded, self.day.total.failed)


def stats_of(names: Iterable[str]) -> dict[str, PipelineStats]:
    """The numbers of these pipelines, by name; three queries, whose cost does not grow with the number of tasks."""
    pipelines = list(names)
    loads = pipeline_stats.loads_of(pipelines)
    return {
        name: PipelineStats(loads.get(name, PipelineLoad()), day)
        for name, day in stats.pipeline_days(pipelines).items()
    }


def bars_of(bars: Sequence[Period], succeeded: int, failed: int) -> SafeString:
    """Small bars for the last 24 hours; `succeeded` and `failed` are their totals."""
    drawn = [Bar(bar.start, (BarSegment("green", bar.succeeded), BarSegment("red", bar.failed)), "") for bar in bars]
    return microbars(drawn, label=f"The last 24 hours: {succeeded:,} succeeded, {failed:,} failed")


def capped(number: int) -> str:
    return formats.capped(number, pipeline_stats.COUNT_LIMIT)


def success_rate(succeeded: int, failed: int) -> str:
    """The share of succeeded tasks in percent, 100% only when none failed; empty when none ended."""
    ended = succeeded + failed
    if not ended:
        return ""
    return "100%" if not failed else f"{min(100 * succeeded / ended, 99.9):.1f}%"


def success_tone(succeeded: int, failed: int) -> str:
    """`bad` when more than HIGH_FAILURE_RATE of the tasks failed, else empty."""
    return "bad" if failed > HIGH_FAILURE_RATE * (succeeded + failed) else ""
