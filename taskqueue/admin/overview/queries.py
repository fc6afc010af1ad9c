"""What the overview is made of: read once in two seconds, whoever looks, and how it is told whether it has changed.

Kept are numbers and rows, never HTML: what a user may see and do is decided anew for each.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.core.cache import cache
from django.db.models import QuerySet
from django.http import HttpRequest

from taskqueue.engine.queries import stats
from taskqueue.engine.queries.stats import Figures, PipelineDay, Range, Standing, Trouble
from taskqueue.engine.runtime.liveness import SILENCE
from taskqueue.models import Pipeline, Task, Worker
from taskqueue.states import TaskStatus

KEPT_FOR: Final = 2
"""Seconds; ten who look cost as much as one."""

GROUPS_SHOWN: Final = 6
LOST_SHOWN: Final = 5
PIPELINES_SHOWN: Final = 10
FAILURES_SHOWN: Final = 6
READ_AT_MOST: Final = 500


@dataclass(frozen=True)
class OverviewData:
    """All of it."""

    figures: Figures
    standing: dict[str, Standing]
    troubles: list[Trouble]
    lost: list[tuple[str, timedelta]]
    workers: list[Worker]
    days: list[PipelineDay]
    paused: dict[str, datetime | None]
    """All known pipelines, and since when they are paused."""
    failures: list[Task]
    is_empty: bool
    """Whether there has never been a task, as far as anybody knows."""


def data_of(range_: Range) -> OverviewData:
    """The data of a range.

    Raises:
        django.db.OperationalError: reading takes too long.
    """
    key = f"taskqueue:overview:{range_.name}"
    kept = cache.get(key)
    if isinstance(kept, OverviewData):
        return kept
    with stats.time_limit():
        data = read(range_)
    cache.set(key, data, KEPT_FOR)
    return data


def read(range_: Range) -> OverviewData:
    """The same from the database: a fixed number of queries, none of which counts tasks."""
    shown = stats.figures(range_)
    standing = stats.standing()
    failures = list(recent_failures()[:FAILURES_SHOWN])
    alive = Worker.objects.filter(ended_at=None).defer("pipelines").order_by("heartbeat_at", "-pk")
    return OverviewData(
        figures=shown,
        standing=standing,
        troubles=stats.troubles(shown, most=GROUPS_SHOWN),
        lost=stats.lost(shown, most=LOST_SHOWN),
        workers=list(alive[:READ_AT_MOST]),
        days=stats.busiest(shown, most=PIPELINES_SHOWN),
        paused=dict(Pipeline.objects.order_by("name").values_list("name", "paused_at")[:READ_AT_MOST]),
        failures=failures,
        is_empty=not failures and not shown.total.ended and not standing and not Task.objects.exists(),
    )


def recent_failures() -> QuerySet[Task]:
    """The failed tasks, those first that failed last."""
    failed = Task.objects.filter(error__isnull=False, status=TaskStatus.FAILED, parallel_step="")
    return failed.only("pipeline", "key", "error", "finished_at").order_by("-finished_at", "-pk")


def tag_of(request: HttpRequest, data: OverviewData) -> str:
    """What changes when something changes that is worth telling this user. Ages alone do not; they do each minute."""
    shown = data.figures
    facts = (
        request.user.pk,
        sorted(request.user.get_all_permissions()),
        shown.range.name,
        shown.rolled_up_until,
        shown.is_behind,
        [(each.pipeline, each.error_type, each.step, each.number) for each in data.troubles],
        sorted((name, each.number) for name, each in data.standing.items()),
        [
            (worker.pk, worker.heartbeat_at > shown.now - SILENCE, worker.claim_error, worker.task_id, worker.step)
            for worker in data.workers
        ],
        sorted(data.paused.items(), key=lambda pair: pair[0]),
        [(task.pk, task.finished_at) for task in data.failures],
        stats.pills(),
    )
    return f'"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}"'
