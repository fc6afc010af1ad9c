"""Statistics of pipelines: unfinished tasks, the last day, and samples of the newest tasks and their steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskqueue.engine import sql
from taskqueue.engine.queries import counts, stats
from taskqueue.engine.queries.stats import Period
from taskqueue.states import TaskStatus

COUNT_LIMIT = sql.COUNT_CAP


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
        counted, days = counts.unfinished(), stats.pipeline_days(names)
    capped = [status for status in counts.UNFINISHED if status in counted.capped]
    return {
        name: PipelineStats(
            unfinished={status: counted.numbers[name, status] for status in counts.UNFINISHED},
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
