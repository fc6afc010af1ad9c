"""Concurrency limits and rates."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from taskqueue.durations import Duration
from taskqueue.policies.bounds import check_time, check_whole
from taskqueue.policies.keys import Keyed

MAX_CONCURRENCY = 100_000
MAX_RATE_COUNT = 1_000_000
MAX_PERIOD_DAYS = 31
MICROSECOND = timedelta(microseconds=1)
RATE_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,99}")


@dataclass(frozen=True)
class Limit(Keyed):
    """At most so many at a time.

    Attributes:
        most: 1 to 100,000.
        key: a key template; then the limit applies to each of its values separately.
    """

    most: int
    key: str = ""

    def __post_init__(self) -> None:
        check_whole("most", self.most, least=1, most=MAX_CONCURRENCY)
        self.check_key()


class Admission(NamedTuple):
    """The decision of a rate on a request, which is refused when `allowed_at` lies after the time of the request."""

    allowed_at: float
    """When it may run, in seconds: the time of the request if it may run at once."""
    tat: float
    """The rate's new theoretical arrival time, in seconds."""


@dataclass(frozen=True)
class Rate(Keyed):
    """So many in each period, evenly spaced (GCRA).

    Attributes:
        count: how many in each period, 1 to 1,000,000.
        per: the period, 1 millisecond to 31 days.
        burst: how many may run at once after an idle time, 1 to 100,000. Any window as long as the period admits at
            most count + burst - 1.
        key: a key template; then the rate applies to each of its values separately.
        name: steps of several pipelines share the rate of one name.
    """

    count: int
    _: KW_ONLY
    per: timedelta
    burst: int = 1
    key: str = ""
    name: str = ""

    if TYPE_CHECKING:

        def __init__(self, count: int, *, per: Duration, burst: int = 1, key: str = "", name: str = "") -> None: ...

    def __post_init__(self) -> None:
        check_whole("count", self.count, least=1, most=MAX_RATE_COUNT)
        object.__setattr__(self, "per", check_time("per", self.per, days=MAX_PERIOD_DAYS))
        check_whole("burst", self.burst, least=1, most=MAX_CONCURRENCY)
        if self.per < self.count * MICROSECOND:
            raise ValueError("A rate admits at most one request per microsecond; lower count or lengthen per.")
        if self.name and not RATE_NAME.fullmatch(self.name):
            raise ValueError(
                f'The rate name "{self.name}" is not 1 to 100 of a-z, 0-9, ".", "_", "/", "-", the first a-z or 0-9.'
            )
        self.check_key()

    @property
    def interval(self) -> timedelta:
        """The time between two requests, in whole microseconds."""
        # Rounded up: rounded down, one request too many would fit into a period.
        return -(-self.per // self.count)

    @property
    def tolerance(self) -> timedelta:
        """How long before its theoretical arrival time a request may come, because of the burst."""
        return (self.burst - 1) * self.interval

    def next_free(self, tat: float | None, now: float, cost: int = 1) -> Admission:
        """Return whether a request may run now, or when. The reference for the SQL statement that does this.

        Args:
            tat: the rate's theoretical arrival time, in seconds; None before the first request.
            now: the time of the request, in seconds; both are rounded to microseconds, like PostgreSQL's times.
            cost: how many requests it counts as, 1 to burst.

        Raises:
            ValueError: the cost is above the burst.
        """
        check_whole("cost", cost, least=1, most=self.burst)
        arrival, interval = _micros(now), self.interval // MICROSECOND
        due = arrival if tat is None else _micros(tat)
        allowed = due - (self.burst - cost) * interval
        if tat is not None and arrival < allowed:
            return Admission(allowed / 1_000_000, tat)
        return Admission(now, (max(due, arrival) + cost * interval) / 1_000_000)


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
