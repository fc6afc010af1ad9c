"""Figures: what the rollups say of a stretch of time, and what stands in the queues now. Nobody counts tasks for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from taskqueue.engine.patience import bound_reads
from taskqueue.engine.recovery import SILENCE
from taskqueue.engine.statements import fetch
from taskqueue.engine.statements import figures as statements
from taskqueue.engine.statements.rollups import IN_ORDER, STANDING_NOW
from taskqueue.models import Rollup
from taskqueue.models.rollup import ALL_PIPELINES, MINUTE, QUARTER
from taskqueue.policies.histograms import merged, percentile

TIME_LIMIT: Final = timedelta(seconds=3)
"""So long a statement of a page may take."""

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
HALF_AN_HOUR: Final = timedelta(minutes=30)

COUNTED: Final = ("succeeded", "recovered", "failed", "cancelled", "failed_tries", "lost_seconds")
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
    failed: int = 0
    cancelled: int = 0
    failed_tries: int = 0
    lost_seconds: int = 0
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
        """The run time that this share of the tasks did not exceed."""
        return percentile(self.ran, share)

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
    rolled_until: datetime | None
    """From there on nothing has been counted yet; None when nothing ever was."""
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
    def is_stale(self) -> bool:
        """Whether nobody rolls up: minutes that have passed long ago are missing."""
        return self.rolled_until is not None and self.now - self.rolled_until > timedelta(minutes=5)


@contextmanager
def time_limit() -> Iterator[None]:
    """What is read in it is read in one transaction, and no statement takes longer than its reader waits.

    Raises:
        django.db.OperationalError: one would have (`patience.ran_out_of_time`).
    """
    with transaction.atomic():
        bound_reads(TIME_LIMIT)
        fetch(IN_ORDER, {})
        yield


def figures(range_: Range, pipeline: str = ALL_PIPELINES) -> Figures:
    """What a range comes to; two queries."""
    ((now, rolled_until),) = fetch(statements.NOW, {})
    until = ceiling(rolled_until or now, range_.bar)
    start = until - range_.length
    rows = rollups(range_.span, start - range_.length, until, pipeline)
    bars = cut(rows, start, range_.bar, count=round(range_.length / range_.bar))
    total, before = Stretch(start, until), Stretch(start - range_.length, start)
    total.add(bars)
    before.add(row for row in rows if row.at < start)
    return Figures(range_, now, rolled_until, bars, total, before)


@dataclass(frozen=True)
class Day:
    """What a pipeline did in the last day, bar by bar, and all together."""

    total: Stretch
    bars: list[Stretch]


def days_of(names: Iterable[str], *, bar: timedelta = HALF_AN_HOUR) -> dict[str, Day]:
    """The last day of each of these pipelines, by name; two queries, none of which looks at the tasks."""
    ((now, rolled_until),) = fetch(statements.NOW, {})
    until = ceiling(rolled_until or now, bar)
    rows: dict[str, list[Any]] = {name: [] for name in names}
    for row in rollups(QUARTER, until - DAY, until, *rows):
        rows[row.pipeline].append(row)
    days = {}
    for name, own in rows.items():
        total = Stretch(until - DAY, until)
        total.add(own)
        days[name] = Day(total, cut(own, until - DAY, bar, count=round(DAY / bar)))
    return days


@dataclass(frozen=True)
class Hours:
    """The last hour that is rolled up.

    Attributes:
        behind: how long ago it ended; None when nothing was ever rolled up.
    """

    start: datetime
    until: datetime
    behind: timedelta | None
    by_pipeline: dict[str, Stretch]

    def of(self, pipeline: str) -> Stretch:
        """That of a pipeline, in which nothing may have ended."""
        return self.by_pipeline.get(pipeline) or Stretch(self.start, self.until)


def last_hours() -> Hours:
    """The same of every pipeline; two queries, none of which looks at the tasks."""
    ((now, rolled_until),) = fetch(statements.NOW, {})
    until = rolled_until or now
    rows: defaultdict[str, list[Any]] = defaultdict(list)
    for row in told(Rollup.objects.filter(span=MINUTE, at__gte=until - HOUR, at__lt=until)):
        rows[row.pipeline].append(row)
    hours = {name: Stretch(until - HOUR, until) for name in rows}
    for name, own in rows.items():
        hours[name].add(own)
    return Hours(until - HOUR, until, None if rolled_until is None else now - rolled_until, hours)


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
    """What failed in a range, in groups, the largest first; one query."""
    values = {"span": shown.range.span, "start": shown.start, "until": shown.until, "most": most}
    return [Trouble(*row) for row in fetch(statements.TROUBLES, values)]


@dataclass(frozen=True)
class PipelineDay:
    """What a pipeline did in the last day."""

    pipeline: str
    succeeded: int
    recovered: int
    failed: int
    cancelled: int
    lost_seconds: int
    bars: list[Stretch] = field(default_factory=list)

    @property
    def success_share(self) -> float | None:
        """How many of those that ended by themselves succeeded; None when there were none."""
        decided = self.succeeded + self.failed
        return self.succeeded / decided if decided else None


def busiest(shown: Figures, *, most: int, bar: timedelta = HALF_AN_HOUR) -> list[PipelineDay]:
    """The pipelines with the most ends in the last day; two queries."""
    until = ceiling(shown.rolled_until or shown.now, bar)
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
    """How many tasks are ready, and how long the oldest has been."""

    number: int
    oldest: timedelta | None
    is_capped: bool
    """Whether there are more than were counted."""


def standing() -> dict[str, Standing]:
    """What stands in the queues now, by pipeline; one query, and no more rows than the cap for each queue."""
    return {
        name: Standing(number, None if oldest is None else timedelta(seconds=oldest), is_capped)
        for name, number, oldest, is_capped in fetch(STANDING_NOW, {})
    }


def standing_in_all(each: Iterable[Standing]) -> Standing:
    """The sum."""
    each = list(each)
    oldest = max((known.oldest for known in each if known.oldest is not None), default=None)
    return Standing(sum(known.number for known in each), oldest, any(known.is_capped for known in each))


@dataclass(frozen=True)
class Pills:
    """What the navigation tells on every page."""

    failed_today: int
    paused: int
    live_workers: int
    unable_workers: int
    """Live, and their claims fail."""


def pills() -> Pills:
    """The same; one query."""
    return Pills(*fetch(statements.PILLS, {"silence": SILENCE})[0])
