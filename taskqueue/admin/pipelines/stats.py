"""How pipelines do, for the pages that show it: one small door to where the numbers come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.charts import Bar, Part, microbars
from taskqueue.admin.shared.filters import written_slice
from taskqueue.engine.queries import samples, stats
from taskqueue.engine.queries.samples import Load
from taskqueue.engine.queries.stats import Day, Stretch

TOO_MANY_FAIL: Final = 0.02
"""Above it the share of failed tasks is told in red."""


@dataclass(frozen=True)
class PipelineFigures:
    """What a pipeline has in hand, and how its last day was."""

    load: Load
    day: Day

    @property
    def lengths(self) -> str:
        """How long half, and 95 of 100, of those that ended took at the most."""
        total = self.day.total
        if not total.decided:
            return formats.NOTHING
        return f"{formats.duration(total.took(0.5))} / {formats.duration(total.took(0.95))}"

    @property
    def share(self) -> str:
        """The share of those that succeeded."""
        return share_of(self.day.total.succeeded, self.day.total.failed)

    @property
    def tone(self) -> str:
        """Whether that is too small."""
        return tone_of(self.day.total.succeeded, self.day.total.failed)

    @property
    def words(self) -> str:
        """How many tasks have ended in the last day, and how."""
        total = self.day.total
        if not total.ended:
            return "no task ended"
        failed = f", {total.failed:,} failed" if total.failed else ""
        cancelled = f", {total.cancelled:,} cancelled" if total.cancelled else ""
        return f"{total.ended:,} ended{failed}{cancelled}"

    @property
    def slice(self) -> str:
        """The last day as far as it has been counted, as the list of tasks is asked for it."""
        return written_slice(self.day.total.start, max(self.day.counted_until, self.day.bars[0].end))

    @property
    def bars(self) -> SafeString:
        """The last day in small bars."""
        return bars_of(self.day.bars, self.day.total.succeeded, self.day.total.failed)


def figures_of(names: Iterable[str]) -> dict[str, PipelineFigures]:
    """The figures of each of these pipelines; three queries, whose cost does not grow with the number of tasks."""
    known = list(names)
    loads = samples.loads_of(known)
    return {name: PipelineFigures(loads.get(name, Load()), day) for name, day in stats.days_of(known).items()}


def bars_of(bars: Sequence[Stretch], succeeded: int, failed: int) -> SafeString:
    """A day in small bars, of which so many tasks in all succeeded and failed."""
    drawn = [Bar(bar.start, (Part("green", bar.succeeded), Part("red", bar.failed)), "") for bar in bars]
    return microbars(drawn, label=f"The last 24 hours: {succeeded:,} succeeded, {failed:,} failed")


def capped(number: int) -> str:
    """A number of what was counted up to a limit."""
    return formats.capped(number, samples.COUNTED_MOST)


def share_of(succeeded: int, failed: int) -> str:
    """The share of those that succeeded among those that ended by themselves; whole only when none failed."""
    ended = succeeded + failed
    if not ended:
        return ""
    return "100%" if not failed else f"{min(100 * succeeded / ended, 99.9):.1f}%"


def tone_of(succeeded: int, failed: int) -> str:
    """`bad` when too many of those that ended by themselves failed."""
    return "bad" if failed > TOO_MANY_FAIL * (succeeded + failed) else ""
