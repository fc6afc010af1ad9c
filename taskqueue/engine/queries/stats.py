"""Statistics from the rollups: how tasks ended in a period, and how many are queued now. No query counts all tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.engine.runtime.locks import limit_statement_time
from taskqueue.engine.sql import fetch
from taskqueue.engine.sql.history import stats as statements
from taskqueue.engine.sql.history.rollups import COUNT_QUEUED, FORCE_INDEX_ORDER, SUMS
from taskqueue.models import EndCount, Rollup
from taskqueue.models.rollup import ALL_PIPELINES, MINUTE, QUARTER
from taskqueue.policies.histograms import merged, percentile
from taskqueue.states import PHASES

TIME_LIMIT: Final = timedelta(seconds=3)
"""The statement timeout of a page's reads."""

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
HALF_AN_HOUR: Final = timedelta(minutes=30)

SUMMED_COLUMNS: Final = (*SUMS, "sampled_blocked_seconds")
SAMPLED_COLUMNS: Final = ("queued", "oldest_seconds")
HISTOGRAMS: Final = ("ran", "waited")


@dataclass(frozen=True)
class Range:
    """A time range that the overview offers, and the length of its bars."""

    name: str
    label: str
    length: timedelta
    bar: timedelta
    span: int
    """Minutes of the rollups that are read for it."""


RANGES: Final = {
    each.name: each
    for each in (
        Range("1h", "hour", timedelta(hours=1), timedelta(minutes=1), MINUTE),
        Range("6h", "6 hours", timedelta(hours=6), timedelta(minutes=6), MINUTE),
        Range("24h", "24 hours", timedelta(hours=24), timedelta(minutes=30), QUARTER),
        Range("7d", "7 days", timedelta(days=7), timedelta(hours=3), QUARTER),
    )
}


@dataclass(frozen=True)
class Period:
    """The tasks that ended in a period: how many, how, and where their time went."""

    start: datetime
    end: datetime
    succeeded: int = 0
    recovered: int = 0
    repaired: int = 0
    failed: int = 0
    cancelled: int = 0
    failed_attempts: int = 0
    sampled_blocked_seconds: int = 0
    queued_seconds: float = 0
    blocked_seconds: float = 0
    waiting_seconds: float = 0
    backoff_seconds: float = 0
    executing_seconds: float = 0
    queued: int | None = None
    oldest_seconds: int | None = None
    ran: list[int] = field(default_factory=list)
    waited: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, start: datetime, end: datetime, rows: Iterable[Any]) -> Period:
        """The sum of rollups or other periods."""
        rows = list(rows)
        values: dict[str, Any] = {name: sum(getattr(row, name) for row in rows) for name in SUMMED_COLUMNS}
        for name in SAMPLED_COLUMNS:
            values[name] = max((value for row in rows if (value := getattr(row, name)) is not None), default=None)
        for name in HISTOGRAMS:
            values[name] = merged(getattr(row, name, ()) for row in rows)
        return cls(start, end, **values)

    @property
    def decided(self) -> int:
        """How many tasks succeeded or failed; a cancelled task did neither."""
        return self.succeeded + self.failed

    @property
    def ended(self) -> int:
        return self.decided + self.cancelled

    @property
    def failure_share(self) -> float | None:
        """The share of failed tasks among those that succeeded or failed; None without any."""
        return self.failed / self.decided if self.decided else None

    def duration(self, share: float) -> timedelta | None:
        """A percentile of the execution time, such as the median at share 0.5."""
        return percentile(self.ran, share)

    @property
    def p50(self) -> timedelta | None:
        return self.duration(0.5)

    @property
    def p95(self) -> timedelta | None:
        return self.duration(0.95)

    def queue_time(self, share: float) -> timedelta | None:
        """A percentile of the time in the queue."""
        return percentile(self.waited, share)

    def phases(self) -> list[tuple[str, timedelta]]:
        """The time of all tasks by phase."""
        return [(name, timedelta(seconds=getattr(self, f"{name}_seconds"))) for name in PHASES]


@dataclass(frozen=True)
class RangeStats:
    """A range bar by bar, with its total and the total of the period before it."""

    range: Range
    now: datetime
    rolled_up_until: datetime | None
    """Ends after this time are not counted yet; None before the first rollup."""
    is_rolling_up: bool
    """Whether the rollups moved on in the last minute."""
    bars: list[Period]
    total: Period
    before: Period

    @property
    def start(self) -> datetime:
        return self.total.start

    @property
    def until(self) -> datetime:
        """The end of the last bar."""
        return self.total.end

    @property
    def counted_until(self) -> datetime:
        """Up to this time the bars are complete."""
        return min(self.rolled_up_until or self.now, self.until)

    def slice(self, period: Period) -> tuple[datetime, datetime] | None:
        """The counted part of a period; None if nothing of it is counted."""
        end = min(period.end, self.counted_until)
        return (period.start, end) if period.start < end else None

    @property
    def is_behind(self) -> bool:
        """Whether the rollups are more than five minutes behind."""
        return self.rolled_up_until is not None and self.now - self.rolled_up_until > timedelta(minutes=5)


@contextmanager
def time_limit() -> Iterator[None]:
    """Read in one transaction, with a statement timeout.

    Raises:
        django.db.OperationalError: a statement ran into the timeout (`locks.is_statement_timeout`).
    """
    with transaction.atomic():
        limit_statement_time(TIME_LIMIT)
        fetch(FORCE_INDEX_ORDER, {})
        yield


def range_stats(range_: Range, pipeline: str = ALL_PIPELINES) -> RangeStats:
    """The statistics of a range; two queries."""
    ((now, rolled_up_until, is_rolling_up),) = fetch(statements.CLOCK_AND_WATERMARK, {})
    until = bar_end(now, range_.bar)
    start = until - range_.length
    rows = rollups(range_.span, start - range_.length, until, pipeline)
    bars = to_bars(rows, start, range_.bar, count=round(range_.length / range_.bar))
    total = Period.of(start, until, bars)
    before = Period.of(start - range_.length, start, (row for row in rows if row.at < start))
    return RangeStats(range_, now, rolled_up_until, bool(is_rolling_up), bars, total, before)


@dataclass(frozen=True)
class PipelineDay:
    """The last day of a pipeline: its total, and bars of half an hour."""

    pipeline: str
    total: Period
    bars: list[Period]
    counted_until: datetime


def pipeline_days(names: Iterable[str]) -> dict[str, PipelineDay]:
    """The last day of each of these pipelines, by name; two queries."""
    ((now, rolled_up_until, _is_rolling_up),) = fetch(statements.CLOCK_AND_WATERMARK, {})
    return days_until(now, rolled_up_until, names)


def busiest_pipelines(stats: RangeStats, *, limit: int) -> list[PipelineDay]:
    """The pipelines with the most ended tasks in the last day, without durations; two queries."""
    until = bar_end(stats.now, HALF_AN_HOUR)
    names = [name for (name,) in fetch(statements.BUSIEST, {"start": until - DAY, "until": until, "most": limit})]
    return list(days_until(stats.now, stats.rolled_up_until, names, with_histograms=False).values())


def days_until(
    now: datetime, rolled_up_until: datetime | None, names: Iterable[str], *, with_histograms: bool = True
) -> dict[str, PipelineDay]:
    until = bar_end(now, HALF_AN_HOUR)
    start, counted_until = until - DAY, min(rolled_up_until or now, until)
    rows: dict[str, list[Any]] = {name: [] for name in names}
    for row in rollups(QUARTER, start, until, *rows, with_histograms=with_histograms):
        rows[row.pipeline].append(row)
    days = {}
    for name, own in rows.items():
        bars = to_bars(own, start, HALF_AN_HOUR, count=round(DAY / HALF_AN_HOUR))
        days[name] = PipelineDay(name, Period.of(start, until, bars), bars, counted_until)
    return days


def rollup_lag() -> timedelta | None:
    """How far the rollups are behind; None before the first rollup. One query."""
    ((now, rolled_up_until, _is_rolling_up),) = fetch(statements.CLOCK_AND_WATERMARK, {})
    return None if rolled_up_until is None else now - rolled_up_until


def end_counts() -> list[EndCount]:
    """How many tasks of each pipeline have ended since counting began; one query."""
    return list(EndCount.objects.order_by("pipeline"))


def rollups(span: int, start: datetime, until: datetime, *pipelines: str, with_histograms: bool = True) -> list[Any]:
    """The rollups of these pipelines in order of time; one query."""
    columns = ["pipeline", "at", *SUMMED_COLUMNS, *SAMPLED_COLUMNS, *(HISTOGRAMS if with_histograms else ())]
    rows = Rollup.objects.filter(span=span, pipeline__in=pipelines, at__gte=start, at__lt=until)
    return list(rows.order_by("at").values_list(*columns, named=True))


def to_bars(rows: Iterable[Any], start: datetime, bar: timedelta, *, count: int) -> list[Period]:
    """Sum rollups up to bars of equal length; a bar in which no task ended is empty."""
    by_bar: list[list[Any]] = [[] for _ in range(count)]
    for row in rows:
        index = (row.at - start) // bar
        if 0 <= index < count:
            by_bar[index].append(row)
    return [Period.of(start + index * bar, start + (index + 1) * bar, found) for index, found in enumerate(by_bar)]


def bar_end(moment: datetime, bar: timedelta) -> datetime:
    """The end of the bar that ends at this moment or contains it."""
    return EPOCH + -((EPOCH - moment) // bar) * bar


@dataclass(frozen=True)
class FailureGroup:
    """Failed tasks with one error type, pipeline and step."""

    error_type: str
    pipeline: str
    step: str
    number: int
    last_message: str
    last_at: datetime
    last_task: UUID


def failure_groups(stats: RangeStats, *, limit: int) -> list[FailureGroup]:
    """The tasks that ended in a range and are failed now, in groups, the largest first; one query."""
    values = {"start": stats.start, "until": stats.counted_until, "most": limit}
    return [FailureGroup(*row) for row in fetch(statements.FAILURE_GROUPS, values)]


def blocked_times(stats: RangeStats, *, limit: int) -> list[tuple[str, timedelta]]:
    """The pipelines whose tasks were blocked longest by limits and rates; one query."""
    values = {"span": stats.range.span, "start": stats.start, "until": stats.until, "most": limit}
    return [(name, timedelta(seconds=seconds)) for name, seconds in fetch(statements.TIME_LOST, values)]


@dataclass(frozen=True)
class QueueDepth:
    """How many tasks and parallel steps are ready, and for how long the oldest has been."""

    number: int
    parallel_steps: int
    oldest: timedelta | None
    is_capped: bool
    """Whether there may be more than were counted."""
    own: int = 0
    """How many of the tasks are in the pipeline's own queue."""
    in_step_queues: Mapping[str, int] = field(default_factory=dict)
    """How many tasks and parallel steps are in the queue of a step, by the queue's name."""


def queue_depths() -> dict[str, QueueDepth]:
    """The queue depth of each pipeline; one query, which reads a bounded number of rows of each queue."""
    parts: defaultdict[str, list[QueueDepth]] = defaultdict(list)
    for name, step_queue, number, parallel_steps, seconds, is_capped in fetch(COUNT_QUEUED, {}):
        oldest = None if seconds is None else timedelta(seconds=seconds)
        in_step_queues, own = ({step_queue: number + parallel_steps}, 0) if step_queue else ({}, number)
        parts[name].append(QueueDepth(number, parallel_steps, oldest, is_capped, own, in_step_queues))
    return {name: total_depth(depths) for name, depths in parts.items()}


def total_depth(depths: Iterable[QueueDepth]) -> QueueDepth:
    """The queue depth of several pipelines together."""
    depths = list(depths)
    return QueueDepth(
        sum(depth.number for depth in depths),
        sum(depth.parallel_steps for depth in depths),
        max((depth.oldest for depth in depths if depth.oldest is not None), default=None),
        any(depth.is_capped for depth in depths),
        sum(depth.own for depth in depths),
        dict(sum((Counter(depth.in_step_queues) for depth in depths), Counter())),
    )


@dataclass(frozen=True)
class BadgeCounts:
    """The numbers in the navigation of every page."""

    failed_today: int
    """Tasks that failed since `today` began, and are failed still."""
    paused: int
    live_workers: int
    failing_workers: int
    """Live workers whose claims fail."""
    today: datetime | None = None
    busy_workers: int = 0
    """Live workers that execute a task, by their heartbeats."""
    slots: int = 0
    """Tasks that the live workers can execute at once."""
    executing: int = 0
    """Tasks that they execute, by their heartbeats."""
    firing: int = 0
    """Alerts that fire now."""
    questions: int = 0
    """Open questions, counted up to one."""


def badge_counts() -> BadgeCounts:
    """Read the navigation's numbers; one query."""
    return BadgeCounts(*fetch(statements.BADGES, {"heartbeat_timeout": HEARTBEAT_TIMEOUT})[0])
