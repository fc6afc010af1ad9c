"""How many at a time, and how many in a period."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from taskqueue.durations import Duration
from taskqueue.policies.bounds import check_time, check_whole
from taskqueue.policies.keys import Keyed

MOST_AT_A_TIME = 100_000
MOST_IN_A_PERIOD = 1_000_000
LONGEST_PERIOD_DAYS = 31
MICROSECOND = timedelta(microseconds=1)
RATE_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,99}")


@dataclass(frozen=True)
class Limit(Keyed):
    """At most so many at a time.

    Attributes:
        most: 1 to 100,000.
        key: a key template; then so many for each of its values.
    """

    most: int
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse what can never be right, where it is written."""
        check_whole("most", self.most, least=1, most=MOST_AT_A_TIME)
        self.check_key()


class Admission(NamedTuple):
    """What a rate says to a request. It was refused when `allowed_at` lies after the time at which it came."""

    allowed_at: float
    """When it may go (the time at which it came, if it may go at once), in seconds."""
    tat: float
    """The theoretical arrival time that the rate keeps from now on, in seconds."""


@dataclass(frozen=True)
class Rate(Keyed):
    """So many in each period, evenly spaced (GCRA).

    Attributes:
        count: how many in each period, 1 to 1,000,000.
        per: the period, 1 millisecond to 31 days.
        burst: how many may go at once after a quiet time, 1 to 100,000. Any window as long as the period admits at most
            count + burst - 1.
        key: a key template; then so many for each of its values.
        name: by which steps of several pipelines share one rate.
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
        """Refuse what can never be right, where it is written."""
        check_whole("count", self.count, least=1, most=MOST_IN_A_PERIOD)
        object.__setattr__(self, "per", check_time("per", self.per, days=LONGEST_PERIOD_DAYS))
        check_whole("burst", self.burst, least=1, most=MOST_AT_A_TIME)
        if self.per < self.count * MICROSECOND:
            raise ValueError("A rate lets one pass in a microsecond at most; lower count or lengthen per.")
        if self.name and not RATE_NAME.fullmatch(self.name):
            raise ValueError(
                f'The rate name "{self.name}" is not 1 to 100 of a-z, 0-9, ".", "_", "/", "-", the first a-z or 0-9.'
            )
        self.check_key()

    @property
    def interval(self) -> timedelta:
        """The time between two that follow each other, in whole microseconds rounded up: rounded down, one too many
        would fit into a period.
        """
        return -(-self.per // self.count)

    @property
    def tolerance(self) -> timedelta:
        """By how much one may come before its time when others did not come at all."""
        return (self.burst - 1) * self.interval

    def next_free(self, tat: float | None, now: float, cost: int = 1) -> Admission:
        """Whether a request may go now, or when. The reference for the statement that does this in the database.

        Args:
            tat: the theoretical arrival time that the rate has kept, in seconds; None when nothing came yet.
            now: when the request comes, in seconds; both are read as whole microseconds, like PostgreSQL's times.
            cost: how many it counts as, 1 to burst.

        Raises:
            ValueError: the cost is more than could ever go at once.
        """
        check_whole("cost", cost, least=1, most=self.burst)
        came, interval = _micros(now), self.interval // MICROSECOND
        due = came if tat is None else _micros(tat)
        allowed = due - (self.burst - cost) * interval
        if tat is not None and came < allowed:
            return Admission(allowed / 1_000_000, tat)
        return Admission(now, (max(due, came) + cost * interval) / 1_000_000)


def _micros(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return round(seconds * 1_000_000)
