"""Rollups: minutes are counted while they pass, and once more when nobody writes into them any more.

The mark says how far. It is moved in the transaction that writes the rows, so a crash anywhere leaves both as they
were; its row is the lock, so that of several doorbells one does it. The present minute is *rolled* every few seconds
while tasks end in it, and *closed* when no transaction is open any more that began before its end: then what it held
at last is counted again. An end that a person takes back by a retry leaves a `Reopened` row, which the next sweep
takes out of the rollups.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import transaction

from taskqueue.engine.sql import ends, fetch
from taskqueue.engine.sql import rollups as statements
from taskqueue.models.rollup import MINUTE, QUARTER, RollupMark

BUDGET: Final = 0.3
"""Seconds after which a sweep with a long way to go lets the doorbell ring; it goes on at the next one."""

AT_ONCE: Final = timedelta(minutes=QUARTER)
"""Of time that is rolled up in one transaction, at the most."""

MINUTES_KEPT: Final = timedelta(days=2)
QUARTERS_KEPT: Final = timedelta(days=35)


@dataclass(frozen=True)
class Mark:
    """How far the rollups go, and could go now."""

    closed: datetime
    rolled: datetime
    past: datetime
    """Up to which the present minute can be counted."""
    settled: datetime
    """The end of the last minute into which nobody writes any more."""
    has_reopened: bool
    """Whether ends that have been counted were taken back."""


@dataclass(frozen=True)
class Window:
    """A stretch of time to roll up, and whether that closes it."""

    start: datetime
    until: datetime
    closes: bool


def roll_up() -> int:
    """Roll up what has passed; no task is made ready by it."""
    deadline = time.monotonic() + BUDGET
    while roll_further() and time.monotonic() < deadline:
        pass
    return 0


def roll_further() -> bool:
    """Roll up a quarter of an hour at the most, in one transaction; whether there was anything to do."""
    # By itself: whoever comes second must not wait for the first one's transaction to see the row.
    fetch(statements.MAKE_MARK, {"kept": QUARTERS_KEPT})
    with transaction.atomic():
        mark = lock_mark()
        if mark is None:
            return False
        if mark.has_reopened:
            take_back(mark)
            return True
        window = next_window(mark)
        if window is None:
            return False
        move_on(mark, window)
    return True


def lock_mark() -> Mark | None:
    """The mark, locked until the end of the transaction; None when there is nothing to do, or another one does it."""
    rows = fetch(statements.LOCK_MARK, {})
    return Mark(*rows[0]) if rows else None


def next_window(mark: Mark) -> Window | None:
    """What to roll up now. Empty time is passed at once; None while nothing has ended in the present minute."""
    closes = mark.closed < mark.settled
    start, end = (mark.closed, mark.settled) if closes else (mark.rolled, mark.past)
    if start >= mark.rolled:
        ((first,),) = fetch(statements.FIRST_END, {"since": start})
        if not closes and minute_of(end) <= start and (first is None or first >= end):
            return None
        start = end if first is None else min(max(start, first), end)
    return Window(start, min(end, quarter_of(start) + AT_ONCE), closes)


def move_on(mark: Mark, window: Window) -> None:
    """Roll up a window, and say so in the mark."""
    start, until = minute_of(window.start), window.until
    if window.start < until:
        roll(start, until)
    rolled = max(mark.rolled, until)
    if minute_of(mark.rolled) < minute_of(rolled) == minute_of(mark.past):
        sample(minute_of(rolled) - timedelta(minutes=MINUTE))
    if window.closes:
        fetch(ends.RAISE, {"start": start, "until": until})
        prune(mark.past, until)
    fetch(statements.MOVE_MARK, {"closed": until if window.closes else mark.closed, "rolled": rolled})


def recount(since: datetime) -> None:
    """Count again what ended since then and was counted already: a history was imported. Counters are left alone.

    What was pruned meanwhile is no longer counted afterwards.
    """
    start = quarter_of(since)
    while True:
        with transaction.atomic():
            mark = RollupMark.objects.select_for_update(no_key=True).first()
            ((first,),) = fetch(statements.FIRST_END, {"since": start})
            if mark is None or first is None or first >= mark.final_until:
                return
            start = quarter_of(max(first, start))
            roll(start, min(start + AT_ONCE, mark.final_until))
            start += AT_ONCE


def take_back(mark: Mark) -> None:
    """Take ends out of the rollups that are none any more: a thousand at the most, and those of one open minute."""
    fetch(ends.TAKE_BACK, {"closed": mark.closed})
    ((minute,),) = fetch(ends.FIRST_REOPENED, {"closed": mark.closed, "rolled": mark.rolled})
    if minute is not None:
        roll(minute, min(minute + timedelta(minutes=MINUTE), mark.rolled))


def roll(start: datetime, until: datetime) -> None:
    """Write the minutes of a time anew, and the quarters of an hour that they belong to."""
    fetch(statements.ROLL_MINUTES, {"start": start, "until": until})
    roll_quarters(start, until)


def roll_quarters(start: datetime, until: datetime) -> None:
    """Write the quarters of an hour anew in which a time lies, from their minutes."""
    end = quarter_of(until - timedelta(microseconds=1)) + AT_ONCE
    fetch(statements.ROLL_QUARTERS, {"start": quarter_of(start), "until": end})


def sample(minute: datetime) -> None:
    """Write down, for the minute that has just passed, what stands in the queues."""
    fetch(statements.IN_ORDER, {})
    fetch(statements.SAMPLE, {"at": minute})
    roll_quarters(minute, minute + timedelta(minutes=1))


def prune(past: datetime, closed: datetime) -> None:
    """Forget what is old. No minute that its quarter may have to be written from again."""
    fetch(statements.PRUNE, {"span": MINUTE, "before": min(past - MINUTES_KEPT, quarter_of(closed))})
    fetch(statements.PRUNE, {"span": QUARTER, "before": past - QUARTERS_KEPT})


def minute_of(moment: datetime) -> datetime:
    """The beginning of its minute."""
    return moment.replace(second=0, microsecond=0)


def quarter_of(moment: datetime) -> datetime:
    """The beginning of its quarter of an hour."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // QUARTER * QUARTER, second=0, microsecond=0)
