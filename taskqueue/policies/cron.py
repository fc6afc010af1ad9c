"""Starts by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from taskqueue.policies.bounds import check_whole

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day of the month": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "day of the week": "0-7 or SUN-SAT, also 5L and MON#2",
}
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""The names that cron knows, but for @reboot, and what is kept in their place."""
EXPRESSION_MAX = 200
MOST_TICKS = 100_000
MINUTE = timedelta(minutes=1)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""From here an expression is tried out: what does not fire in the 50 years that follow never does."""


@dataclass(frozen=True)
class Cron:
    """When the clock starts a pipeline.

    Summer time is kept as by Debian's cron. When neither the minute nor the hour begins with a star, a time that the
    clock skips runs once, right after the change, and a time that comes twice runs once, the first time. When one of
    them does begin with a star, each real minute is compared with the clock on the wall: what is skipped does not run,
    what comes twice runs twice. In the few zones that change by half an hour or at midnight (Lord Howe, Havana, Cairo)
    such an expression may have a tick too many or miss some on the day of the change.

    Attributes:
        expression: minute, hour, day of the month, month, day of the week. If neither day begins with a star, either is
            enough. Or a name such as @daily, in whose place the five fields are kept.
        timezone: a name from the IANA database, such as Europe/Berlin.
        misfire: what happens to ticks that came while nothing ran: "skip" leaves out those that are older than the
            grace, "once" makes up for all by the newest, "all" runs each.
    """

    expression: str
    _: KW_ONLY
    timezone: str = "UTC"
    misfire: Literal["skip", "once", "all"] = "once"

    def __post_init__(self) -> None:
        """Refuse what can never be right, where it is written."""
        if self.misfire not in {"skip", "once", "all"}:
            raise ValueError(f'misfire is "skip", "once" or "all", not {self.misfire!r}.')
        object.__setattr__(self, "expression", NAMED.get(self.expression, self.expression))
        _check_zone(self.timezone)
        _check_fields(self.expression)
        _check_fires(self.expression)

    def next_after(self, moment: datetime) -> datetime:
        """The first tick after a moment, in UTC.

        Raises:
            ValueError: the moment has no time zone, or no tick comes within 50 years.
        """
        tick = next(self._ticks_after(moment), None)
        if tick is None:
            raise ValueError(f'The cron expression "{self.expression}" does not fire within 50 years of {moment}.')
        return tick

    def ticks(self, after: datetime, until: datetime, *, most: int = 1000) -> list[datetime]:
        """The ticks with after < tick <= until in UTC, oldest first, and only so many of them."""
        check_whole("most", most, least=1, most=MOST_TICKS)
        _check_aware(until)
        return list(islice(takewhile(lambda tick: tick <= until, self._ticks_after(after)), most))

    def due(self, last: datetime, now: datetime, *, grace: timedelta) -> list[datetime]:
        """Which of the ticks that came after the last one are to run now, oldest first.

        Args:
            last: the last tick that was dealt with; what lies before counts as dealt with.
            now: the time.
            grace: how old a tick may be that "skip" still runs.

        Returns:
            At most 1,000; when "all" has more, they are due after the last of these.
        """
        if grace < timedelta(0):
            raise ValueError(f"grace is not negative, but it is {grace}.")
        if self.misfire == "once":
            return self._newest(last, now)
        if self.misfire == "skip":
            # A tick that is exactly as old as the grace still runs.
            last = max(last, now - grace - timedelta(microseconds=1))
        return self.ticks(last, now)

    def _ticks_after(self, moment: datetime) -> Iterator[datetime]:
        """All ticks after a moment, in UTC, each later than the one before."""
        _check_aware(moment)
        newest = moment.astimezone(UTC)
        for local in CronSim(self.expression, moment.astimezone(ZoneInfo(self.timezone))):
            tick = local.astimezone(UTC)
            # Times that the clock skips fall together, and in an hour that comes twice the first one may be over.
            if tick > newest:
                yield tick
                newest = tick

    def _newest(self, last: datetime, now: datetime) -> list[datetime]:
        """The newest tick with last < tick <= now, if there is one; found by halving, however many there are."""
        _check_aware(now)
        newest, until = self.next_after(last), now.astimezone(UTC)
        if newest > now:
            return []
        while until - newest >= MINUTE:
            middle = newest + (until - newest) / 2
            tick = self.next_after(middle)
            if tick <= now:
                newest = tick
            else:
                until = middle
        return [newest]


def _check_zone(name: str) -> None:
    """Refuse a time zone that this machine does not know."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'The time zone "{name}" is not known; write its IANA name, such as Europe/Berlin.') from error


def _check_fields(expression: str) -> None:
    """Refuse an expression with a wrong field, and name the field."""
    parts = expression.split()
    if len(parts) != len(FIELDS) or len(expression) > EXPRESSION_MAX:
        raise ValueError(
            f'The cron expression "{expression[:EXPRESSION_MAX]}" is not five fields in at most {EXPRESSION_MAX} '
            "characters; write minute, hour, day of the month, month and day of the week, such as 0 3 * * *, "
            f"or one of {', '.join(NAMED)}."
        )
    for position, (name, takes) in enumerate(FIELDS.items()):
        alone = ["*"] * len(FIELDS)
        alone[position] = parts[position]
        try:
            CronSim(" ".join(alone), EPOCH)
        except CronSimError as error:
            raise ValueError(
                f'The {name} of the cron expression "{expression}" is "{parts[position]}"; '
                f"it takes {takes}, and lists, ranges and steps of them."
            ) from error


def _check_fires(expression: str) -> None:
    """Refuse an expression whose date does not exist."""
    try:
        tick = next(CronSim(expression, EPOCH), None)
    except CronSimError:
        tick = None
    if tick is None:
        raise ValueError(f'The cron expression "{expression}" never fires; choose a day that its months have.')


def _check_aware(moment: datetime) -> None:
    """Refuse a time that could mean several moments."""
    if moment.utcoffset() is None:
        raise ValueError(f"{moment} has no time zone; give an aware datetime.")
