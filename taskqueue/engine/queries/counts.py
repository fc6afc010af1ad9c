"""Counts of unfinished tasks and of tasks that could run, for each pipeline and up to a limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from taskqueue.engine.sql import fetch, rollups, tasks
from taskqueue.states import ENDED, TaskStatus

UNFINISHED: Final = tuple(status for status in TaskStatus if status not in ENDED)
COUNT_LIMIT: Final = tasks.COUNT_BY_PIPELINE_CAP


@dataclass(frozen=True)
class UnfinishedCounts:
    """The number of unfinished tasks.

    Attributes:
        numbers: by pipeline and status. Of a capped status only the newest tasks are counted.
        capped: the statuses of which there may be more tasks than were counted.
    """

    numbers: Counter[tuple[str, TaskStatus]] = field(default_factory=Counter)
    capped: frozenset[TaskStatus] = frozenset()


def unfinished() -> UnfinishedCounts:
    """Count unfinished tasks, up to COUNT_LIMIT of each status; one query. Call it within `stats.time_limit`."""
    numbers: Counter[tuple[str, TaskStatus]] = Counter()
    read: Counter[TaskStatus] = Counter()
    for name, pipeline, number, rows in fetch(tasks.COUNT_BY_PIPELINE, {"statuses": [*UNFINISHED]}):
        status = TaskStatus(name)
        numbers[pipeline, status] = number
        read[status] += rows
    return UnfinishedCounts(numbers, frozenset(status for status, rows in read.items() if rows >= COUNT_LIMIT))


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The tasks of a pipeline that could run.

    Attributes:
        claimable: queued tasks that only need a free worker.
        blocked: tasks that wait for a concurrency limit or a rate.
        oldest: for how long the oldest queued task has been due; None without one.
    """

    pipeline: str
    is_paused: bool
    claimable: int
    blocked: int
    oldest: timedelta | None


def readiness() -> list[Readiness]:
    """The readiness of every pipeline, by name; one query. Call it within `stats.time_limit`."""
    return [
        Readiness(
            pipeline=pipeline,
            is_paused=is_paused,
            claimable=claimable,
            blocked=blocked,
            oldest=None if oldest is None else timedelta(seconds=oldest),
        )
        for pipeline, is_paused, claimable, blocked, oldest in fetch(rollups.COUNT_READY, {})
    ]
