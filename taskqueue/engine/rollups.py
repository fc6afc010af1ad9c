"""Rollups: minutes are counted once they have passed, and once more if somebody was still writing into them.

The mark says how far. It is moved in the transaction that writes the rows, so a crash anywhere leaves both as they
were; its row is the lock, so that of several doorbells one does it. A minute is *rolled* when it has passed, and
*closed* when no transaction is open any more that began before its end: then what it held at last is counted again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import transaction

from taskqueue.engine.statements import fetch
from taskqueue.engine.statements import rollups as statements
from taskqueue.models.rollup import MINUTE, QUARTER

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
    """The end of the last minute that has passed."""
    settled: datetime
    """The end of the last minute into which nobody writes any more."""

    @property
    def has_work(self) -> bool:
        """Whether a minute can be closed or rolled."""
        return self.closed < self.settled or self.rolled < self.past


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
        if mark is None or not mark.has_work:
            return False
        start, until, closes = next_window(mark)
        if start < until:
            roll(start, until)
        reaches = max(mark.rolled, until)
        if mark.rolled < reaches == mark.past:
            sample(reaches - timedelta(minutes=1))
        closed = until if closes else mark.closed
        fetch(statements.MOVE_MARK, {"closed": closed, "rolled": reaches})
        prune(mark.past, closed)
    return True


def lock_mark() -> Mark | None:
    """The mark, locked until the end of the transaction; None when there is nothing to do, or another one does it."""
    rows = fetch(statements.LOCK_MARK, {})
    return Mark(*rows[0]) if rows else None


def next_window(mark: Mark) -> tuple[datetime, datetime, bool]:
    """From when until when to roll up now, and whether that closes it. Empty time is passed at once."""
    closes = mark.closed < mark.settled
    start, end = (mark.closed, mark.settled) if closes else (mark.rolled, mark.past)
    if start >= mark.rolled:
        ((first,),) = fetch(statements.FIRST_END, {"since": start})
        start = end if first is None else min(max(start, first), end)
    return start, min(end, quarter_of(start) + AT_ONCE), closes


def roll(start: datetime, until: datetime) -> None:
    """Write the minutes of a time anew, and the quarters of an hour that they belong to."""
    times = {"start": start, "until": until}
    fetch(statements.ROLL_MINUTES, times)
    fetch(statements.FORGET_FAILURES, {**times, "span": MINUTE})
    fetch(statements.GROUP_FAILURES, times)
    roll_quarters(start, until)


def roll_quarters(start: datetime, until: datetime) -> None:
    """Write the quarters of an hour anew in which a time lies, from their minutes."""
    times = {"start": quarter_of(start), "until": quarter_of(until - timedelta(microseconds=1)) + AT_ONCE}
    fetch(statements.ROLL_QUARTERS, times)
    fetch(statements.FORGET_FAILURES, {**times, "span": QUARTER})
    fetch(statements.QUARTER_FAILURES, times)


def sample(minute: datetime) -> None:
    """Write down, for the minute that has just passed, what stands in the queues."""
    fetch(statements.IN_ORDER, {})
    fetch(statements.SAMPLE, {"at": minute})
    roll_quarters(minute, minute + timedelta(minutes=1))


def prune(past: datetime, closed: datetime) -> None:
    """Forget what is old. No minute that its quarter may have to be written from again."""
    fetch(statements.PRUNE, {"span": MINUTE, "before": min(past - MINUTES_KEPT, quarter_of(closed))})
    fetch(statements.PRUNE, {"span": QUARTER, "before": past - QUARTERS_KEPT})


def quarter_of(moment: datetime) -> datetime:
    """The beginning of its quarter of an hour."""
    moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // QUARTER * QUARTER, second=0, microsecond=0)
