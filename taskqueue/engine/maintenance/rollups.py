"""Rollups: count finished tasks per minute, provisionally while a minute passes, and finally when it cannot change.

The watermark is moved in the transaction that writes the rows, so a crash leaves both unchanged. Its row is the lock,
so one process at a time rolls up. The current minute is rolled up every few seconds, and becomes final when all
transactions that began before its end have ended: then it is counted again. A retry of a finished task leaves a
`Reopened` row, which the next sweep subtracts from the rollups.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models.functions import Now, TruncMinute

from taskqueue.engine.sql import fetch
from taskqueue.engine.sql.history import ends
from taskqueue.engine.sql.history import rollups as statements
from taskqueue.models.rollup import MINUTE, QUARTER, Rollup, RollupMark

SWEEP_SECONDS: Final = 0.3
"""After this time the sweep returns; the next one goes on."""

WINDOW: Final = timedelta(minutes=QUARTER)
"""The longest time that one transaction rolls up."""

MINUTES_KEPT: Final = timedelta(days=2)
QUARTERS_KEPT: Final = timedelta(days=35)


@dataclass(frozen=True)
class Watermark:
    """How far the rollups are, and how far they can go now.

    Attributes:
        final_until: until when minutes are final.
        rolled_up_until: until when tasks are counted.
        past: until when the current minute can be counted.
        settled: the end of the last minute that cannot change any more.
        has_reopened: whether counted tasks have been reopened by a retry.
    """

    final_until: datetime
    rolled_up_until: datetime
    past: datetime
    settled: datetime
    has_reopened: bool


@dataclass(frozen=True)
class Window:
    """A period to roll up, and whether it becomes final."""

    start: datetime
    until: datetime
    is_final: bool


def roll_up() -> int:
    """Roll up the time that has passed. Returns 0, as it queues no task."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while roll_up_window() and time.monotonic() < deadline:
        pass
    return 0


def roll_up_window() -> bool:
    """Roll up a quarter of an hour at most, in one transaction; whether there was anything to do."""
    # Outside of the transaction: a concurrent process must not wait for its commit to see the row.
    begin = TruncMinute(Now() - QUARTERS_KEPT, tzinfo=UTC)
    RollupMark.objects.get_or_create(defaults={"final_until": begin, "rolled_up_until": begin})
    with transaction.atomic():
        mark = lock_watermark()
        if mark is None:
            return False
        if mark.has_reopened:
            subtract_reopened(mark)
            return True
        window = next_window(mark)
        if window is None:
            return False
        roll_up_to(mark, window)
    return True


def lock_watermark() -> Watermark | None:
    """The watermark, locked; None when there is nothing to do, or another process has locked it."""
    rows = fetch(statements.LOCK_WATERMARK, {})
    return Watermark(*rows[0]) if rows else None


def next_window(mark: Watermark) -> Window | None:
    """The next period. Time without ends is skipped; None while nothing has ended in the current minute."""
    is_final = mark.final_until < mark.settled
    start, end = (mark.final_until, mark.settled) if is_final else (mark.rolled_up_until, mark.past)
    if start >= mark.rolled_up_until:
        ((first,),) = fetch(statements.FIRST_END, {"since": start})
        if not is_final and minute_of(end) <= start and (first is None or first >= end):
            return None
        start = end if first is None else min(max(start, first), end)
    return Window(start, min(end, quarter_of(start) + WINDOW), is_final)


def roll_up_to(mark: Watermark, window: Window) -> None:
    start, until = minute_of(window.start), window.until
    if window.start < until:
        roll(start, until)
    rolled_up_until = max(mark.rolled_up_until, until)
    if minute_of(mark.rolled_up_until) < minute_of(rolled_up_until) == minute_of(mark.past):
        sample(minute_of(rolled_up_until) - timedelta(minutes=MINUTE))
    final_until = until if window.is_final else mark.final_until
    if window.is_final:
        fetch(ends.RAISE_END_COUNTS, {"start": start, "until": until})
        prune(mark.past, until)
    fetch(statements.MOVE_WATERMARK, {"final_until": final_until, "rolled_up_until": rolled_up_until})


def recount(since: datetime) -> None:
    """Count the minutes since then again, after an import of history. Counters are left alone.

    Tasks that were pruned meanwhile are no longer counted.
    """
    start = quarter_of(since)
    while True:
        with transaction.atomic():
            mark = RollupMark.objects.select_for_update(no_key=True).first()
            ((first,),) = fetch(statements.FIRST_END, {"since": start})
            if mark is None or first is None or first >= mark.final_until:
                return
            start = quarter_of(max(first, start))
            roll(start, min(start + WINDOW, mark.final_until))
            start += WINDOW


def subtract_reopened(mark: Watermark) -> None:
    """Subtract up to a thousand reopened tasks from final minutes, and count one other minute again."""
    fetch(ends.SUBTRACT_REOPENED, {"final_until": mark.final_until})
    ((minute,),) = fetch(
        ends.FIRST_REOPENED, {"final_until": mark.final_until, "rolled_up_until": mark.rolled_up_until}
    )
    if minute is not None:
        roll(minute, min(minute + timedelta(minutes=MINUTE), mark.rolled_up_until))


def roll(start: datetime, until: datetime) -> None:
    """Count the minutes of a period, and the quarters of an hour that they belong to."""
    fetch(statements.ROLL_MINUTES, {"start": start, "until": until})
    roll_quarters(start, until)


def roll_quarters(start: datetime, until: datetime) -> None:
    end = quarter_of(until - timedelta(microseconds=1)) + WINDOW
    fetch(statements.ROLL_QUARTERS, {"start": quarter_of(start), "until": end})


def sample(minute: datetime) -> None:
    """Record the queue depths for the minute that has just passed."""
    fetch(statements.FORCE_INDEX_ORDER, {})
    fetch(statements.SAMPLE_QUEUES, {"at": minute})
    roll_quarters(minute, minute + timedelta(minutes=1))


def prune(past: datetime, final_until: datetime) -> None:
    """Delete old rollups, but no minute of a quarter of an hour that may be summed again."""
    Rollup.objects.filter(span=MINUTE, at__lt=min(past - MINUTES_KEPT, quarter_of(final_until))).delete()
    Rollup.objects.filter(span=QUARTER, at__lt=past - QUARTERS_KEPT).delete()


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def quarter_of(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // QUARTER * QUARTER, second=0, microsecond=0)
