"""Statistics of pipelines: unfinished and ready tasks, the last day, and samples of the newest tasks and steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from taskqueue.engine import sql
from taskqueue.engine.queries import stats
from taskqueue.engine.queries.stats import Period
from taskqueue.engine.sql.history.rollups import COUNT_READY
from taskqueue.states import ENDED, TaskStatus

COUNT_LIMIT: Final = sql.COUNT_CAP
UNFINISHED: Final = tuple(status for status in TaskStatus if status not in ENDED)
UNFINISHED_LIMIT: Final = sql.COUNT_BY_PIPELINE_CAP


@dataclass(frozen=True)
class PipelineStats:
    """The statistics of one pipeline that the API returns.

    Attributes:
        unfinished: the number of tasks in each unfinished status.
        capped: the statuses of which not all tasks were counted.
    """

    unfinished: dict[TaskStatus, int]
    capped: Sequence[TaskStatus]
    last_day: Period


def pipeline_stats(names: Iterable[str]) -> dict[str, PipelineStats]:
    """The statistics of these pipelines; three queries, whose cost does not grow with the number of tasks.

    Raises:
        django.db.OperationalError: a query ran into its timeout.
    """
    with stats.time_limit():
        counted, days = unfinished(), stats.pipeline_days(names)
    capped = [status for status in UNFINISHED if status in counted.capped]
    return {
        name: PipelineStats(
            unfinished={status: counted.numbers[name, status] for status in UNFINISHED},
            capped=capped,
            last_day=day.total,
        )
        for name, day in days.items()
    }


@dataclass(frozen=True)
class PipelineLoad:
    """The current load of a pipeline.

    Attributes:
        slots_used: concurrency slots that its tasks hold, counted up to one more than COUNT_LIMIT.
        queued: tasks that wait for a worker, counted up to the same number.
    """

    slots_used: int = 0
    queued: int = 0


@dataclass(frozen=True)
class StepStats:
    """How a step did in the pipeline's newest tasks.

    Attributes:
        retries: failed attempts.
        median: of the duration, where it succeeded.
        tasks: the number of tasks that recorded the step.
    """

    name: str
    kind: str
    succeeded: int = 0
    failed: int = 0
    retries: int = 0
    median: timedelta | None = None
    tasks: int = 0


@dataclass(frozen=True)
class CodeVersion:
    """A version of a pipeline's code that ran in its newest tasks.

    Attributes:
        tasks: the number of tasks that began or ended on it.
        seen_at: the creation time of the latest of them.
    """

    fingerprint: str
    version: str
    tasks: int
    seen_at: datetime


def loads_of(names: Iterable[str]) -> dict[str, PipelineLoad]:
    """The current load of these pipelines, by name; one query."""
    rows = sql.fetch(sql.QUEUE_LOADS, {"names": list(names)})
    return {name: PipelineLoad(*load) for name, *load in rows}


def steps_of(pipeline: str) -> list[StepStats]:
    """The steps that the newest tasks recorded, in the order of recording."""
    return [StepStats(*row) for row in sql.fetch(sql.STEP_STATS, {"pipeline": pipeline})]


def code_versions_of(pipeline: str) -> list[CodeVersion]:
    """The code versions on which the newest tasks ran, the latest first."""
    return [CodeVersion(*row) for row in sql.fetch(sql.CODE_VERSIONS, {"pipeline": pipeline})]


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
    """Count unfinished tasks, up to UNFINISHED_LIMIT of each status; one query. Call it within `stats.time_limit`."""
    numbers: Counter[tuple[str, TaskStatus]] = Counter()
    read: Counter[TaskStatus] = Counter()
    for name, pipeline, number, rows in sql.fetch(sql.COUNT_BY_PIPELINE, {"statuses": [*UNFINISHED]}):
        status = TaskStatus(name)
        numbers[pipeline, status] = number
        read[status] += rows
    return UnfinishedCounts(numbers, frozenset(status for status, rows in read.items() if rows >= UNFINISHED_LIMIT))


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The tasks of a pipeline that could run: those in its own queue, or those in the queue of a step.

    Attributes:
        claimable: queued tasks that only need a free worker.
        blocked: tasks that wait for a concurrency limit or a rate.
        oldest: for how long the oldest queued task has been due; None without one.
    """

    pipeline: str
    queue: str
    is_paused: bool
    claimable: int
    blocked: int
    oldest: timedelta | None


def readiness() -> list[Readiness]:
    """The readiness of every pipeline, by name and queue; one query. Call it within `stats.time_limit`."""
    return [
        Readiness(
            pipeline=pipeline,
            queue=queue,
            is_paused=is_paused,
            claimable=claimable,
            blocked=blocked,
            oldest=None if oldest is None else timedelta(seconds=oldest),
        )
        for pipeline, queue, is_paused, claimable, blocked, oldest in sql.fetch(COUNT_READY, {})
    ]
