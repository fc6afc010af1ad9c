"""The stat cards of the overview: a number, a comparison with the period before, and a link to the tasks behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.utils.safestring import SafeString

from taskqueue.admin.overview.tables import WorkerRow, depth_text
from taskqueue.admin.pipelines.stats import HIGH_FAILURE_RATE
from taskqueue.admin.shared import formats
from taskqueue.admin.shared.charts import sparkline
from taskqueue.admin.shared.filters import format_time_range
from taskqueue.admin.shared.links import list_url
from taskqueue.engine.queries.stats import Period, QueueDepth, RangeStats

LONG_WAIT: Final = timedelta(minutes=5)
MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class StatCard:
    """One number; `tone` is "bad", "poor" or empty."""

    name: str
    value: str
    unit: str
    note: str
    address: str
    chart: SafeString | str = ""
    tone: str = ""
    meter: dict[str, int] | None = None


def stat_cards(stats: RangeStats, queue_depth: QueueDepth, workers: Sequence[WorkerRow] | None) -> list[StatCard]:
    """All cards; without the workers' card when `workers` is None."""
    cards = [in_queue(stats, queue_depth), throughput(stats), failure_rate(stats), execution(stats)]
    return cards if workers is None else [*cards, live_workers(workers)]


def ended_tasks_url(stats: RangeStats, period: Period, **filters: str) -> str:
    """The list of the tasks that ended in a period; empty while nothing of the period has been counted."""
    counted = stats.slice(period)
    return list_url("task", **filters, ended=format_time_range(*counted)) if counted else ""


def in_queue(stats: RangeStats, queue_depth: QueueDepth) -> StatCard:
    """Ready tasks that no worker has claimed."""
    is_late = queue_depth.oldest is not None and queue_depth.oldest > LONG_WAIT
    note = "the queue is empty" if queue_depth.oldest is None else f"oldest {formats.duration(queue_depth.oldest)}"
    if queue_depth.parallel_steps:
        note += f", and {formats.count_of(queue_depth.parallel_steps, 'parallel step')}"
    depths = [bar.queued for bar in stats.bars]
    chart = sparkline(depths, hue="blue", label=f"Most at once: {max_of(depths):,}")
    tone = "poor" if is_late else ""
    return StatCard("In queue", depth_text(queue_depth), "", note, list_url("task", status="queued"), chart, tone)


def throughput(stats: RangeStats) -> StatCard:
    now, before = per_minute(stats, stats.total), per_minute(stats, stats.before)
    ended = [bar.ended for bar in stats.bars]
    chart = sparkline(ended, hue="green", label=f"Most in one bar: {max_of(ended):,}")
    note = f"{stats.total.ended:,} ended, {comparison(now, before, stats.range.label)}"
    return StatCard("Throughput", rate_text(now), "/min", note, ended_tasks_url(stats, stats.total), chart)


def per_minute(stats: RangeStats, period: Period) -> float:
    """Tasks that ended per counted minute of a period."""
    end = min(period.end, stats.counted_until)
    return period.ended / max((end - period.start) / MINUTE, 1)


def rate_text(number: float) -> str:
    if number >= 10 or number == 0:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 0.1 else "<0.1"


def comparison(now: float, before: float, range_words: str) -> str:
    if not before:
        return f"none in the {range_words} before" if now else f"none in the last {range_words}"
    change = round(100 * (now - before) / before)
    return f"{change:+d}% vs the {range_words} before" if change else f"as in the {range_words} before"


def failure_rate(stats: RangeStats) -> StatCard:
    """The share of failed tasks among those that succeeded or failed."""
    share, before = stats.total.failure_share, stats.before.failure_share
    parts = [f"{stats.total.failed:,} failed"]
    parts += [f"was {100 * before:.1f}%"] if before is not None else []
    chart = sparkline([bar.failed for bar in stats.bars], hue="red", label="Failed tasks over time")
    address = ended_tasks_url(stats, stats.total, status="failed")
    value = formats.EMPTY_VALUE if share is None else f"{100 * share:.1f}"
    tone = "bad" if share is not None and share > HIGH_FAILURE_RATE else ""
    return StatCard("Failure rate", value, "" if share is None else "%", ", ".join(parts), address, chart, tone)


def execution(stats: RangeStats) -> StatCard:
    """Percentiles of the execution time, and p95 of the queue time."""
    p50, p95, p99 = (formats.duration(stats.total.duration(share)) for share in (0.5, 0.95, 0.99))
    before, queue_time = stats.before.duration(0.95), stats.total.queue_time(0.95)
    parts = [f"p50 {p50}", f"p99 {p99}"] if stats.total.ran else ["nothing ended"]
    parts += [f"was {formats.duration(before)}"] if before is not None else []
    parts += [f"queue time p95 {formats.duration(queue_time)}"] if queue_time is not None else []
    chart = sparkline(percentile_of(stats.bars, 0.95), hue="violet", label="p95 over time")
    return StatCard("Execution p95", p95, "", ", ".join(parts), ended_tasks_url(stats, stats.total), chart)


def percentile_of(bars: Sequence[Period], share: float) -> list[float | None]:
    """A percentile of each bar's execution times, in seconds."""
    return [None if (duration := bar.duration(share)) is None else duration.total_seconds() for bar in bars]


def live_workers(workers: Sequence[WorkerRow]) -> StatCard:
    """Workers that are live and can claim, of those that have not ended."""
    live = [row for row in workers if row.can_claim]
    busy, slots = sum(row.worker.executing for row in live), sum(row.worker.slots for row in live)
    with_claim_error = sum(row.is_live and not row.can_claim for row in workers)
    tone = "bad" if not live else "poor" if len(live) < len(workers) else ""
    if with_claim_error:
        note = f"{with_claim_error} cannot claim"
    else:
        note = f"{busy} of {slots} busy" if live else "no task is executed"
    unit = f"of {len(workers)}" if workers else ""
    address = list_url("worker")
    return StatCard(
        "Workers", str(len(live)), unit, note, address, tone=tone, meter={"value": busy, "most": max(slots, 1)}
    )


def max_of(values: Sequence[int | None]) -> int:
    return max((value for value in values if value is not None), default=0)
