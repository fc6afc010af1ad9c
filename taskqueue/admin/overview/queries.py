"""The data of the overview, cached for two seconds for all users, and its ETag.

The cache holds numbers and rows, never HTML: permissions are checked for each user.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.core.cache import cache
from django.db.models import Min, QuerySet
from django.http import HttpRequest

from taskqueue.engine.alerts.evaluate import checked_rules
from taskqueue.engine.queries import stats
from taskqueue.engine.queries.stats import FailureGroup, PipelineDay, QueueDepth, Range, RangeStats
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.engine.runtime.queue_workers import queue_workers
from taskqueue.models import Alert, Pipeline, Task, Worker
from taskqueue.models.pipeline import EFFECTIVE_QUEUE
from taskqueue.states import TaskStatus

CACHE_SECONDS: Final = 2
FAILURE_GROUPS_SHOWN: Final = 6
LIMIT_WAITS_SHOWN: Final = 5
PIPELINES_SHOWN: Final = 10
FAILURES_SHOWN: Final = 6
READ_AT_MOST: Final = 500
UNCHECKED_AFTER: Final = timedelta(minutes=2)


@dataclass(frozen=True)
class OverviewData:
    """Everything that the page shows.

    Attributes:
        queue_depths: by pipeline.
        limit_waits: pipelines, and how long their tasks waited for limits.
        paused: all pipelines, and since when each is paused.
        queues: the queue of each pipeline.
        queue_workers: how many live workers take each queue, also of steps.
        is_empty: whether no task was ever stored, as far as the tables tell.
        alerts: those that fire, the oldest first.
        alerts_checked_at: when the enabled rule that was checked longest ago was checked; None if none ever was.
    """

    stats: RangeStats
    queue_depths: dict[str, QueueDepth]
    failure_groups: list[FailureGroup]
    limit_waits: list[tuple[str, timedelta]]
    workers: list[Worker]
    days: list[PipelineDay]
    paused: dict[str, datetime | None]
    queues: dict[str, str]
    queue_workers: dict[str, int]
    failures: list[Task]
    is_empty: bool
    alerts: list[Alert]
    alerts_checked_at: datetime | None


def overview_data(range_: Range) -> OverviewData:
    """The data of a time range, from the cache or the database. Raises OperationalError if a statement is too slow."""
    key = f"taskqueue:overview:{range_.name}"
    cached = cache.get(key)
    if isinstance(cached, OverviewData):
        return cached
    with stats.time_limit():
        data = read(range_)
    cache.set(key, data, CACHE_SECONDS)
    return data


def read(range_: Range) -> OverviewData:
    """The data from the database: a fixed number of queries, none of which counts tasks."""
    range_stats = stats.range_stats(range_)
    queue_depths = stats.queue_depths()
    failures = list(recent_failures()[:FAILURES_SHOWN])
    pipelines = list(Pipeline.objects.order_by("name").values_list("name", "paused_at", EFFECTIVE_QUEUE)[:READ_AT_MOST])
    active = Worker.objects.filter(ended_at=None).defer("pipelines").order_by("heartbeat_at", "-pk")
    return OverviewData(
        stats=range_stats,
        queue_depths=queue_depths,
        failure_groups=stats.failure_groups(range_stats, limit=FAILURE_GROUPS_SHOWN),
        limit_waits=stats.blocked_times(range_stats, limit=LIMIT_WAITS_SHOWN),
        workers=list(active[:READ_AT_MOST]),
        days=stats.busiest_pipelines(range_stats, limit=PIPELINES_SHOWN),
        paused={name: paused_at for name, paused_at, _queue in pipelines},
        queue_workers=queue_workers(),
        queues={name: queue for name, _paused_at, queue in pipelines},
        failures=failures,
        is_empty=not failures and not range_stats.total.ended and not queue_depths and not Task.objects.exists(),
        alerts=list(firing_alerts()[:READ_AT_MOST]),
        alerts_checked_at=checked_rules().aggregate(least=Min("evaluated_at"))["least"],
    )


def firing_alerts() -> QuerySet[Alert]:
    return Alert.objects.filter(firing_since__isnull=False).select_related("rule").order_by("firing_since", "pk")


def recent_failures() -> QuerySet[Task]:
    failed = Task.objects.filter(error__isnull=False, status=TaskStatus.FAILED, parallel_step="")
    return failed.only("pipeline", "key", "error", "finished_at").order_by("-finished_at", "-pk")


def are_alerts_unchecked(data: OverviewData) -> bool:
    """Whether rules were checked once, and one of them not for two minutes."""
    return data.alerts_checked_at is not None and data.stats.now - data.alerts_checked_at > UNCHECKED_AFTER


def etag_of(request: HttpRequest, data: OverviewData) -> str:
    """A hash of what the user sees. Ages are left out: live.js counts them on, so they alone need no new page."""
    parts = (
        request.user.pk,
        sorted(request.user.get_all_permissions()),
        data.stats.range.name,
        data.stats.rolled_up_until,
        data.stats.is_behind,
        [(group.pipeline, group.error_type, group.step, group.number) for group in data.failure_groups],
        sorted((name, depth.number, sorted(depth.in_step_queues.items())) for name, depth in data.queue_depths.items()),
        [
            (
                worker.pk,
                worker.heartbeat_at > data.stats.now - HEARTBEAT_TIMEOUT,
                worker.claim_error,
                worker.task_id,
                worker.step,
                worker.executing,
            )
            for worker in data.workers
        ],
        sorted(data.queues.items()),
        [(queue, number > 0) for queue, number in data.queue_workers.items()],
        sorted(data.paused.items(), key=lambda pair: pair[0]),
        [(task.pk, task.finished_at) for task in data.failures],
        [(alert.pk, alert.text, alert.rule.silenced_until) for alert in data.alerts],
        are_alerts_unchecked(data),
        stats.badge_counts(),
    )
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'
