"""Cron expressions and the times at which they fire."""

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
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""cron's names for expressions, except @reboot."""
EXPRESSION_MAX = 200
MAX_TIMES = 100_000
MINUTE = timedelta(minutes=1)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Expressions are tested from here: one that does not fire in the following 50 years never fires."""


@dataclass(frozen=True)
class Cron:
    """The schedule of a pipeline.

    Daylight saving time is handled as by Debian's cron. If neither the minute nor the hour begins with a star, a
    skipped local time runs once, right after the change, and a repeated local time runs once, the first time. If one
    of them begins with a star, each real minute is compared with the local time: a skipped time does not run, a
    repeated time runs twice. In the few zones that change by half an hour or at midnight (Lord Howe, Havana, Cairo)
    such an expression may have one run too many, or miss some, on the day of the change.

    Attributes:
        expression: minute, hour, day of the month, month, day of the week. If neither day begins with a star,
            one of the two must match. A name such as @daily is replaced by its five fields.
        timezone: a name from the IANA database, such as Europe/Berlin.
        misfire: what happens to scheduled times that were missed: "skip" skips those older than the grace, "once" runs
            the newest, "all" runs each.
    """

    expression: str
    _: KW_ONLY
    timezone: str = "UTC"
    misfire: Literal["skip", "once", "all"] = "once"

    def __post_init__(self) -> None:
        if self.misfire not in {"skip", "once", "all"}:
            raise ValueError(f'misfire is "skip", "once" or "all", not {self.misfire!r}.')
        object.__setattr__(self, "expression", ALIASES.get(self.expression, self.expression))
        _check_zone(self.timezone)
        _check_fields(self.expression)
        _check_fires(self.expression)

    def next_after(self, moment: datetime) -> datetime:
        """Return the first scheduled time after a moment, in UTC.

        Raises:
            ValueError: the moment has no time zone, or the expression does not fire within 50 years.
        """
        time = next(self._times_after(moment), None)
        if time is None:
            raise ValueError(f'The cron expression "{self.expression}" does not fire within 50 years of {moment}.')
        return time

    def times_between(self, after: datetime, until: datetime, *, limit: int = 1000) -> list[datetime]:
        """Return the scheduled times with after < time <= until in UTC, oldest first, at most `limit` of them."""
        check_whole("limit", limit, least=1, most=MAX_TIMES)
        _check_aware(until)
        return list(islice(takewhile(lambda time: time <= until, self._times_after(after)), limit))

    def due(self, last: datetime, now: datetime, *, grace: timedelta) -> list[datetime]:
        """Return which scheduled times after the last one are to run now, oldest first.

        Args:
            last: the last scheduled time that was handled; all earlier ones count as handled.
            now: the time.
            grace: how late "skip" still runs a scheduled time.

        Returns:
            At most 1,000; if "all" has more, the next call with the last of these returns them.
        """
        if grace < timedelta(0):
            raise ValueError(f"grace is not negative, but it is {grace}.")
        if self.misfire == "once":
            return self._newest(last, now)
        if self.misfire == "skip":
            # A time that is exactly as late as the grace still runs.
            last = max(last, now - grace - timedelta(microseconds=1))
        return self.times_between(last, now)

    def _times_after(self, moment: datetime) -> Iterator[datetime]:
        _check_aware(moment)
        newest = moment.astimezone(UTC)
        for local in CronSim(self.expression, moment.astimezone(ZoneInfo(self.timezone))):
            time = local.astimezone(UTC)
            # Skipped local times fall together, and of a repeated hour the first one may be over.
            if time > newest:
                yield time
                newest = time

    def _newest(self, last: datetime, now: datetime) -> list[datetime]:
        """The newest scheduled time with last < time <= now, if any; found by bisection, as there may be very many."""
        _check_aware(now)
        newest, until = self.next_after(last), now.astimezone(UTC)
        if newest > now:
            return []
        while until - newest >= MINUTE:
            middle = newest + (until - newest) / 2
            time = self.next_after(middle)
            if time <= now:
                newest = time
            else:
                until = middle
        return [newest]


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'The time zone "{name}" is not known; write its IANA name, such as Europe/Berlin.') from error


def _check_fields(expression: str) -> None:
    parts = expression.split()
    if len(parts) != len(FIELDS) or len(expression) > EXPRESSION_MAX:
        raise ValueError(
            f'The cron expression "{expression[:EXPRESSION_MAX]}" is not five fields in at most {EXPRESSION_MAX} '
            "characters; write minute, hour, day of the month, month and day of the week, such as 0 3 * * *, "
            f"or one of {', '.join(ALIASES)}."
        )
    for position, (name, takes) in enumerate(FIELDS.items()):
        tested = ["*"] * len(FIELDS)
        tested[position] = parts[position]
        try:
            CronSim(" ".join(tested), EPOCH)
        except CronSimError as error:
            raise ValueError(
                f'The {name} of the cron expression "{expression}" is "{parts[position]}"; '
                f"it takes {takes}, and lists, ranges and steps of them."
            ) from error


def _check_fires(expression: str) -> None:
    try:
        time = next(CronSim(expression, EPOCH), None)
    except CronSimError:
        time = None
    if time is None:
        raise ValueError(f'The cron expression "{expression}" never fires; choose a day that its months have.')


def _check_aware(moment: datetime) -> None:
    if moment.utcoffset() is None:
        raise ValueError(f"{moment} has no time zone; give an aware datetime.")
