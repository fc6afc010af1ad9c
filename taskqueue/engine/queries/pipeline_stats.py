"""How pipelines do: what each has in hand, and how its last day was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from taskqueue.engine.queries import counts, stats
from taskqueue.engine.queries.stats import Stretch
from taskqueue.states import TaskStatus


@dataclass(frozen=True)
class LastDay:
    """How many tasks ended, how, and how long half and 95 of 100 of them took at the most."""

    succeeded: int
    failed: int
    cancelled: int
    p50: timedelta | None
    p95: timedelta | None

    @classmethod
    def of(cls, day: Stretch) -> LastDay:
        """From what the rollups come to."""
        return cls(day.succeeded, day.failed, day.cancelled, day.took(0.5), day.took(0.95))


@dataclass(frozen=True)
class PipelineFigures:
    """The figures of one pipeline.

    Attributes:
        unfinished: how many tasks are in each status in which they have not ended.
        capped: the statuses of which not all were counted.
    """

    unfinished: dict[TaskStatus, int]
    capped: Sequence[TaskStatus]
    last_day: LastDay


def figures_of(names: Iterable[str]) -> dict[str, PipelineFigures]:
    """The figures of each of these pipelines; three queries, whose cost does not grow with the number of tasks.

    Raises:
        django.db.OperationalError: one takes longer than a reader waits.
    """
    with stats.time_limit():
        counted, days = counts.unfinished(), stats.days_of(names)
    capped = [status for status in counts.UNFINISHED if status in counted.capped]
    return {
        name: PipelineFigures(
            unfinished={status: counted.numbers[name, status] for status in counts.UNFINISHED},
            capped=capped,
            last_day=LastDay.of(day.total),
        )
        for name, day in days.items()
    }
