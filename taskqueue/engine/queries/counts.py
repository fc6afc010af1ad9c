"""The census: how many unfinished tasks there are now, and which of them could run, of each pipeline up to a cap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from taskqueue.engine.sql import fetch, rollups, tasks
from taskqueue.states import ENDED, TaskStatus

UNFINISHED: Final = tuple(status for status in TaskStatus if status not in ENDED)
COUNTED_MOST: Final = tasks.CENSUS_MOST


@dataclass(frozen=True)
class Census:
    """Unfinished tasks.

    Attributes:
        numbers: how many, by pipeline and status. Of a status that is capped they are those of its newest tasks.
        capped: the statuses of which there are, or may be, more than were counted.
    """

    numbers: Counter[tuple[str, TaskStatus]] = field(default_factory=Counter)
    capped: frozenset[TaskStatus] = frozenset()


def unfinished(statuses: Iterable[TaskStatus] = UNFINISHED) -> Census:
    """Count the tasks of these statuses; one query, which reads no more of each than COUNTED_MOST.

    To be asked within `stats.time_limit`, like the other one.
    """
    numbers: Counter[tuple[str, TaskStatus]] = Counter()
    read: Counter[TaskStatus] = Counter()
    for name, pipeline, number, rows in fetch(tasks.CENSUS, {"statuses": [*statuses]}):
        status = TaskStatus(name)
        numbers[pipeline, status] = number
        read[status] += rows
    return Census(numbers, frozenset(status for status, rows in read.items() if rows >= COUNTED_MOST))


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What of a pipeline is ready.

    Attributes:
        claimable: queued tasks that nothing but a free worker is missing for.
        held_back: tasks that wait for a limit or a rate.
        oldest: how long the oldest of the queued ones has been due; None without any.
    """

    pipeline: str
    is_paused: bool
    claimable: int
    held_back: int
    oldest: timedelta | None


def readiness() -> list[Readiness]:
    """The same of every pipeline, by name; one query, to be asked within `stats.time_limit`."""
    return [
        Readiness(
            pipeline=pipeline,
            is_paused=is_paused,
            claimable=claimable,
            held_back=held_back,
            oldest=None if oldest is None else timedelta(seconds=oldest),
        )
        for pipeline, is_paused, claimable, held_back, oldest in fetch(rollups.READY_NOW, {})
    ]
