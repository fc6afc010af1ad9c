"""Figures: what the rollups say of a stretch of time, and what stands in the queues now. Nobody counts tasks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from taskqueue.engine.runtime.liveness import SILENCE
from taskqueue.engine.runtime.locks import bound_reads
from taskqueue.engine.sql import fetch
from taskqueue.engine.sql import stats as statements
from taskqueue.engine.sql.rollups import IN_ORDER, STANDING_NOW
from taskqueue.models import EndCount, Rollup
from taskqueue.models.rollup import ALL_PIPELINES, MINUTE, QUARTER
from taskqueue.policies.histograms import merged, percentile
from taskqueue.states import PHASES

TIME_LIMIT: Final = timedelta(seconds=3)
"""So long a statement of a page may take."""

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
HALF_AN_HOUR: Final = timedelta(minutes=30)

SECONDS: Final = tuple(f"{phase}_seconds" for phase in PHASES)
COUNTED: Final = (
    "succeeded", "recovered", "repaired", "failed", "cancelled", "failed_attempts", "sampled_blocked_seconds", *SECONDS
)  # fmt: skip
SAMPLED: Final = ("queued", "oldest_seconds")


@dataclass(frozen=True)
class Range:
    """A stretch of time that can be looked at, and the length of its bars."""

    name: str
    words: str
    length: timedelta
    bar: timedelta
    span: int
    """Of the rollups that are read for it."""


RANGES: Final = {
    known.name: known
    for known in (
        Range("1h", "hour", timedelta(hours=1), timedelta(minutes=1), MINUTE),
        Range("6h", "6 hours", timedelta(hours=6), timedelta(minutes=6), MINUTE),
        Range("24h", "24 hours", timedelta(hours=24), timedelta(minutes=30), QUARTER),
        Range("7d", "7 days", timedelta(days=7), timedelta(hours=3), QUARTER),
    )
}


@dataclass
class Stretch:
    """What the tasks that ended in a stretch of time come to. Stretches add up."""

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

    @property
    def decided(self) -> int:
        """How many ended by themselves: cancelled ones are nobody's success and nobody's failure."""
        return self.succeeded + self.failed

    @property
    def ended(self) -> int:
        """How many ended."""
        return self.decided + self.cancelled

    @property
    def failure_share(self) -> float | None:
        """How many of those that ended by themselves failed; None when there were none."""
        return self.failed / self.decided if self.decided else None

    def took(self, share: float) -> timedelta | None:
        """The time in the hands of workers that this share of the tasks did not exceed."""
        return percentile(self.ran, share)

    def stood(self, share: float) -> timedelta | None:
        """The same of the time in the queue."""
        return percentile(self.waited, share)

    def phases(self) -> list[tuple[str, timedelta]]:
        """Where the time of the tasks went, all together."""
        return [(name, timedelta(seconds=getattr(self, f"{name}_seconds"))) for name in PHASES]

    def add(self, rows: Iterable[Any]) -> None:
        """Count rows in, rollups or other stretches."""
        rows = list(rows)
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + sum(getattr(row, name) for row in rows))
        for name in SAMPLED:
            known = [value for row in (self, *rows) if (value := getattr(row, name)) is not None]
            setattr(self, name, max(known, default=None))
        self.ran = merged([self.ran, *(row.ran for row in rows)])
        self.waited = merged([self.waited, *(row.waited for row in rows)])


@dataclass(frozen=True)
class Figures:
    """A range, bar by bar, with its sum and that of the period before it."""

    range: Range
    now: datetime
    rolled_up_until: datetime | None
    """From there on nothing has been counted yet; None when nothing ever was."""
    is_counting: bool
    """Whether somebody has counted lately."""
    bars: list[Stretch]
    total: Stretch
    before: Stretch

    @property
    def start(self) -> datetime:
        """Its beginning."""
        return self.total.start

    @property
    def until(self) -> datetime:
        """Its end: that of the last bar."""
        return self.total.end

    @property
    def counted_until(self) -> datetime:
        """Up to where its bars tell all that ended."""
        return min(self.rolled_up_until or self.now, self.until)

    def slice(self, stretch: Stretch) -> tuple[datetime, datetime] | None:
        """The time of a stretch, as far as it has been counted; None when nothing of it has."""
        end = min(stretch.end, self.counted_until)
        return (stretch.start, end) if stretch.start < end else None

    @property
    def is_behind(self) -> bool:
        """Whether minutes that have passed long ago are missing."""
        return self.rolled_up_until is not None and self.now - self.rolled_up_until > timedelta(minutes=5)


@contextmanager
def time_limit() -> Iterator[None]:
    """What is read in it is read in one transaction, and no statement takes longer than its reader waits.

    Raises:
        django.db.OperationalError: one would have (`locks.ran_out_of_time`).
    """
    with transaction.atomic():
        bound_reads(TIME_LIMIT)
        fetch(IN_ORDER, {})
        yield


def figures(range_: Range, pipeline: str = ALL_PIPELINES) -> Figures:
    """What a range comes to; two queries."""
    ((now, rolled_up_until, is_counting),) = fetch(statements.NOW, {})
    until = ceiling(now, range_.bar)
    start = until - range_.length
    rows = rollups(range_.span, start - range_.length, until, pipeline)
    bars = cut(rows, start, range_.bar, count=round(range_.length / range_.bar))
    total, before = Stretch(start, until), Stretch(start - range_.length, start)
    total.add(bars)
    before.add(row for row in rows if row.at < start)
    return Figures(range_, now, rolled_up_until, bool(is_counting), bars, total, before)


@dataclass(frozen=True)
class Day:
    """What a pipeline did in the last day, bar by bar, and all together."""

    total: Stretch
    bars: list[Stretch]
    counted_until: datetime


def days_of(names: Iterable[str], *, bar: timedelta = HALF_AN_HOUR) -> dict[str, Day]:
    """The last day of each of these pipelines, by name; two queries, none of which looks at the tasks."""
    ((now, rolled_up_until, _is_counting),) = fetch(statements.NOW, {})
    until = ceiling(now, bar)
    rows: dict[str, list[Any]] = {name: [] for name in names}
    for row in rollups(QUARTER, until - DAY, until, *rows):
        rows[row.pipeline].append(row)
    days = {}
    for name, own in rows.items():
        total = Stretch(until - DAY, until)
        total.add(own)
        days[name] = Day(total, cut(own, until - DAY, bar, count=round(DAY / bar)), min(rolled_up_until or now, until))
    return days


def behind() -> timedelta | None:
    """How far the rollups are behind; None when nothing was ever rolled up. One query."""
    ((now, rolled_up_until, _is_counting),) = fetch(statements.NOW, {})
    return None if rolled_up_until is None else now - rolled_up_until


def end_counts() -> list[EndCount]:
    """How many tasks of each pipeline have ended since counting began; one query."""
    return list(EndCount.objects.order_by("pipeline"))


def rollups(span: int, start: datetime, until: datetime, *pipelines: str) -> list[Any]:
    """The rows of pipelines, or of all together; one query by their index."""
    return told(Rollup.objects.filter(span=span, pipeline__in=pipelines, at__gte=start, at__lt=until))


def told(found: QuerySet[Rollup]) -> list[Any]:
    """What rollups tell, in the order of their times."""
    return list(found.order_by("at").values_list("pipeline", "at", *COUNTED, *SAMPLED, "ran", "waited", named=True))


def cut(rows: Iterable[Any], start: datetime, bar: timedelta, *, count: int) -> list[Stretch]:
    """The bars of a stretch of time; those in which nothing ended are empty."""
    by_bar: list[list[Any]] = [[] for _ in range(count)]
    for row in rows:
        place = (row.at - start) // bar
        if 0 <= place < count:
            by_bar[place].append(row)
    bars = [Stretch(start + place * bar, start + (place + 1) * bar) for place in range(count)]
    for stretch, found in zip(bars, by_bar, strict=True):
        stretch.add(found)
    return bars


def ceiling(moment: datetime, step: timedelta) -> datetime:
    """The end of the bar in which what came last before a moment lies."""
    return EPOCH + -((EPOCH - moment) // step) * step


@dataclass(frozen=True)
class Trouble:
    """Tasks that failed alike."""

    error_type: str
    pipeline: str
    step: str
    number: int
    last_message: str
    last_at: datetime
    last_task: UUID


def troubles(shown: Figures, *, most: int) -> list[Trouble]:
    """What ended in a range and is failed now, in groups, the largest first; one query, of so many failed tasks."""
    values = {"start": shown.start, "until": shown.counted_until, "most": most}
    return [Trouble(*row) for row in fetch(statements.TROUBLES, values)]


@dataclass(frozen=True)
class PipelineDay:
    """What a pipeline did in the last day."""

    pipeline: str
    succeeded: int
    recovered: int
    failed: int
    cancelled: int
    sampled_blocked_seconds: int
    bars: list[Stretch] = field(default_factory=list)

    @property
    def start(self) -> datetime:
        """When it began."""
        return self.bars[0].start

    @property
    def success_share(self) -> float | None:
        """How many of those that ended by themselves succeeded; None when there were none."""
        decided = self.succeeded + self.failed
        return self.succeeded / decided if decided else None


def busiest(shown: Figures, *, most: int, bar: timedelta = HALF_AN_HOUR) -> list[PipelineDay]:
    """The pipelines with the most ends in the last day; two queries."""
    until = ceiling(shown.now, bar)
    times = {"start": until - DAY, "until": until}
    days = [PipelineDay(*row) for row in fetch(statements.BUSIEST, {**times, "most": most})]
    names = [day.pipeline for day in days]
    counts = {
        (name, at): (succeeded, failed)
        for name, at, succeeded, failed in fetch(statements.DAYS, {**times, "pipelines": names, "bar": bar})
    }
    starts = [until - DAY + place * bar for place in range(round(DAY / bar))]
    for day in days:
        for start in starts:
            succeeded, failed = counts.get((day.pipeline, start), (0, 0))
            day.bars.append(Stretch(start, start + bar, succeeded=succeeded, failed=failed))
    return days


def lost(shown: Figures, *, most: int) -> list[tuple[str, timedelta]]:
    """The pipelines whose tasks spent the most time waiting for limits and rates; one query."""
    values = {"span": shown.range.span, "start": shown.start, "until": shown.until, "most": most}
    return [(name, timedelta(seconds=seconds)) for name, seconds in fetch(statements.LOST, values)]


@dataclass(frozen=True)
class Standing:
    """How many tasks are ready, and parallel steps of tasks, and how long the oldest has been."""

    number: int
    parallel_steps: int
    oldest: timedelta | None
    is_capped: bool
    """Whether there are more than were counted."""


def standing() -> dict[str, Standing]:
    """What stands in the queues now, by pipeline; one query, and no more rows than the cap for each queue."""
    return {
        name: Standing(number, parallel_steps, None if oldest is None else timedelta(seconds=oldest), is_capped)
        for name, number, parallel_steps, oldest, is_capped in fetch(STANDING_NOW, {})
    }


def standing_in_all(each: Iterable[Standing]) -> Standing:
    """The sum."""
    each = list(each)
    oldest = max((known.oldest for known in each if known.oldest is not None), default=None)
    number, parallel_steps = sum(known.number for known in each), sum(known.parallel_steps for known in each)
    return Standing(number, parallel_steps, oldest, any(known.is_capped for known in each))


@dataclass(frozen=True)
class Pills:
    """What the navigation tells on every page."""

    failed_today: int
    """Tasks that failed since `today` began, and are failed still."""
    paused: int
    live_workers: int
    unable_workers: int
    """Live, and their claims fail."""
    today: datetime | None = None


def pills() -> Pills:
    """The same; one query."""
    return Pills(*fetch(statements.PILLS, {"silence": SILENCE})[0])
