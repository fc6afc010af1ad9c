"""The tiles of the overview: five numbers, each with what it is to be compared with, and where it leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.urls import reverse
from django.utils.safestring import SafeString

from taskqueue.admin.overview.tables import WorkerRow, tasks_at
from taskqueue.admin.pipelines.stats import TOO_MANY_FAIL
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.charts import sparkline
from taskqueue.admin.shared.filters import written_slice
from taskqueue.engine.queries.stats import Figures, Standing, Stretch

LONG_WAIT: Final = timedelta(minutes=5)
MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Meter:
    """How much of something is used."""

    value: int
    most: int


@dataclass(frozen=True)
class Tile:
    """One number."""

    name: str
    value: str
    unit: str
    note: str
    address: str
    chart: SafeString | str = ""
    tone: str = ""
    meter: Meter | None = None


def tiles_of(shown: Figures, standing: Standing, workers: Sequence[WorkerRow] | None) -> list[Tile]:
    """All of them; that of the workers only for those who may see workers."""
    tiles = [waiting(shown, standing), throughput(shown), failure_rate(shown), execution(shown)]
    return tiles if workers is None else [*tiles, live_workers(workers)]


def ended_at(shown: Figures, stretch: Stretch, **question: str) -> str:
    """The address of the tasks that a number of a stretch counts; empty while nothing of it has been counted."""
    period = shown.slice(stretch)
    return tasks_at(**question, ended=written_slice(*period)) if period else ""


def waiting(shown: Figures, standing: Standing) -> Tile:
    """How many tasks are ready and have no worker."""
    number = f"{standing.number:,}{'+' if standing.is_capped else ''}"
    late = standing.oldest is not None and standing.oldest > LONG_WAIT
    note = "nothing waits" if standing.oldest is None else f"oldest {formats.duration(standing.oldest)}"
    if standing.parallel_steps:
        note += f", and {formats.count_of(standing.parallel_steps, 'parallel step')}"
    depths = [bar.queued for bar in shown.bars]
    chart = sparkline(depths, hue="blue", label=f"Most at once: {max_of(depths):,}")
    return Tile("Waiting now", number, "", note, tasks_at(status="queued"), chart, "poor" if late else "")


def throughput(shown: Figures) -> Tile:
    """How many tasks ended in a minute."""
    now, before = per_minute(shown, shown.total), per_minute(shown, shown.before)
    ends = [bar.ended for bar in shown.bars]
    chart = sparkline(ends, hue="green", label=f"Most in one bar: {max_of(ends):,}")
    note = f"{shown.total.ended:,} ended, {compared(now, before, shown.range.words)}"
    return Tile("Throughput", rate(now), "/min", note, ended_at(shown, shown.total), chart)


def per_minute(shown: Figures, stretch: Stretch) -> float:
    """Ends in a minute, of those minutes that have been counted."""
    end = min(stretch.end, shown.counted_until)
    return stretch.ended / max((end - stretch.start) / MINUTE, 1)


def rate(number: float) -> str:
    """A number of tasks in a minute."""
    if number >= 10 or number == 0:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 0.1 else "<0.1"


def compared(now: float, before: float, words: str) -> str:
    """A number beside that of the period before."""
    if not before:
        return f"none in the {words} before" if now else f"none in the last {words}"
    change = round(100 * (now - before) / before)
    return f"{change:+d}% vs the {words} before" if change else f"as in the {words} before"


def failure_rate(shown: Figures) -> Tile:
    """How many of the tasks that ended by themselves failed."""
    share, before = shown.total.failure_share, shown.before.failure_share
    parts = [f"{shown.total.failed:,} failed"]
    parts += [f"was {100 * before:.1f}%"] if before is not None else []
    chart = sparkline([bar.failed for bar in shown.bars], hue="red", label="Failed tasks over time")
    address = ended_at(shown, shown.total, status="failed")
    value = formats.NOTHING if share is None else f"{100 * share:.1f}"
    tone = "bad" if share is not None and share > TOO_MANY_FAIL else ""
    return Tile("Failure rate", value, "" if share is None else "%", ", ".join(parts), address, chart, tone)


def execution(shown: Figures) -> Tile:
    """How long tasks were in the hands of workers, and how long in the queue, of twenty the slowest left out."""
    p50, p95, p99 = (formats.duration(shown.total.took(share)) for share in (0.5, 0.95, 0.99))
    before, queue = shown.before.took(0.95), shown.total.stood(0.95)
    parts = [f"p50 {p50}", f"p99 {p99}"] if shown.total.ran else ["nothing ended"]
    parts += [f"was {formats.duration(before)}"] if before is not None else []
    parts += [f"queue time p95 {formats.duration(queue)}"] if queue is not None else []
    slowest = [None if (took := bar.took(0.95)) is None else took.total_seconds() for bar in shown.bars]
    chart = sparkline(slowest, hue="violet", label="p95 over time")
    return Tile("Execution p95", p95, "", ", ".join(parts), ended_at(shown, shown.total), chart)


def live_workers(workers: Sequence[WorkerRow]) -> Tile:
    """How many of the workers that have not ended live and can claim, and how many of those are at work."""
    live = [row for row in workers if row.is_able]
    busy = sum(row.is_busy for row in live)
    unable = sum(row.is_live and not row.is_able for row in workers)
    tone = "bad" if not live else "poor" if len(live) < len(workers) else ""
    note = f"{unable} cannot claim" if unable else f"{busy} of {len(live)} busy" if live else "nothing is executed"
    unit = f"of {len(workers)}" if workers else ""
    address = reverse("admin:taskqueue_worker_changelist")
    return Tile("Workers", str(len(live)), unit, note, address, tone=tone, meter=Meter(busy, max(len(live), 1)))


def max_of(values: Sequence[int | None]) -> int:
    """The highest of those that are known."""
    return max((value for value in values if value is not None), default=0)
