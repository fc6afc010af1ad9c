"""The tables of the overview: workers, pipelines, recent failures, and time waiting for limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.safestring import SafeString

from taskqueue.admin.overview.queries import PIPELINES_SHOWN, OverviewData
from taskqueue.admin.pipelines.stats import bars_of, success_rate, success_tone
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.filters import format_time_range
from taskqueue.engine.queries.stats import PipelineDay, QueueDepth
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.models import Task, Worker

WORKERS_SHOWN: Final = 8


def task_list_url(**filters: str) -> str:
    return f"{reverse('admin:taskqueue_task_changelist')}?{urlencode(filters, safe=':.,@')}"


@dataclass(frozen=True)
class WorkerRow:
    """A worker process that has not ended.

    Attributes:
        can_claim: whether it is live and its claims do not fail.
        is_outdated: whether its version differs from that of the worker that started last.
    """

    worker: Worker
    is_live: bool
    can_claim: bool
    is_outdated: bool
    badge: SafeString
    heartbeat: SafeString
    task_address: str

    @property
    def is_busy(self) -> bool:
        return self.worker.task_id is not None


def workers(data: OverviewData) -> list[WorkerRow]:
    """Silent workers and those that cannot claim come first."""
    newest = max(data.workers, key=lambda worker: worker.started_at).version if data.workers else ""
    rows = [worker_row(worker, newest, data.stats.now) for worker in data.workers]
    return sorted(rows, key=lambda row: (row.can_claim, row.worker.host, row.worker.pid))


def worker_row(worker: Worker, newest: str, now: datetime) -> WorkerRow:
    is_live = worker.heartbeat_at > now - HEARTBEAT_TIMEOUT
    state = "silent" if not is_live else "claim_error" if worker.claim_error else "live"
    return WorkerRow(
        worker=worker,
        is_live=is_live,
        can_claim=state == "live",
        is_outdated=worker.version != newest,
        badge=html.badge(state),
        heartbeat=html.moment(worker.heartbeat_at, now),
        task_address=reverse("admin:taskqueue_task_change", args=[worker.task_id]) if worker.task_id else "",
    )


@dataclass(frozen=True)
class PipelineRow:
    """A pipeline with its last 24 hours."""

    name: str
    breakable_name: SafeString
    address: str
    is_paused: bool
    bars: SafeString
    success: str
    tone: str
    counts: str
    ended_address: str
    in_queue: str
    queue_address: str


def pipelines(data: OverviewData) -> list[PipelineRow]:
    """The busiest pipelines of the last 24 hours; when there are few, others after them."""
    days = {day.pipeline: day for day in data.days}
    others = sorted(data.paused.keys() - days.keys(), key=lambda name: (name not in data.queue_depths, name))
    until = data.stats.counted_until
    return [
        pipeline_row(name, days.get(name), data.queue_depths.get(name), data.paused.get(name), until)
        for name in [*days, *others][:PIPELINES_SHOWN]
    ]


def pipeline_row(
    name: str,
    day: PipelineDay | None,
    queue_depth: QueueDepth | None,
    paused_at: datetime | None,
    counted_until: datetime,
) -> PipelineRow:
    return PipelineRow(
        name=name,
        breakable_name=html.wrap_at_slashes(name),
        address=reverse("admin:taskqueue_pipeline_change", args=[quote(name)]),
        is_paused=paused_at is not None,
        bars=SafeString("") if day is None else bars_of(day.bars, day.total.succeeded, day.total.failed),
        success=(day is not None and success_rate(day.total.succeeded, day.total.failed)) or formats.EMPTY_VALUE,
        tone="" if day is None else success_tone(day.total.succeeded, day.total.failed),
        counts="no task ended"
        if day is None
        else f"{day.total.succeeded + day.total.failed + day.total.cancelled:,} ended",
        ended_address=(
            "" if day is None else task_list_url(pipeline=name, ended=format_time_range(day.total.start, counted_until))
        ),
        in_queue="" if queue_depth is None else f"{depth_text(queue_depth)} in queue",
        queue_address=task_list_url(pipeline=name, status="queued"),
    )


def depth_text(queue_depth: QueueDepth) -> str:
    return f"{queue_depth.number:,}{'+' if queue_depth.is_capped else ''}"


@dataclass(frozen=True)
class FailureRow:
    """A task that failed."""

    task: Task
    address: str
    short_id: str
    error_type: str
    message: str
    step: str
    ended: SafeString


def recent_failures(data: OverviewData) -> list[FailureRow]:
    return [failure_row(task, data.stats.now) for task in data.failures]


def failure_row(task: Task, now: datetime) -> FailureRow:
    error = task.error or {}
    return FailureRow(
        task=task,
        address=reverse("admin:taskqueue_task_change", args=[task.pk]),
        short_id=formats.short_id(task.pk),
        error_type=error.get("type", ""),
        message=formats.first_line(error.get("message", "")),
        step=error.get("step") or formats.EMPTY_VALUE,
        ended=html.moment(task.finished_at, now),
    )


@dataclass(frozen=True)
class LimitWaitRow:
    """How long the tasks of a pipeline waited for limits; `longest` is the largest value of the table."""

    name: str
    address: str
    duration: str
    seconds: int
    longest: int


def limit_waits(waits: Sequence[tuple[str, timedelta]]) -> list[LimitWaitRow]:
    longest = max((round(duration.total_seconds()) for _name, duration in waits), default=1)
    return [
        LimitWaitRow(
            name,
            task_list_url(pipeline=name, status="queued,waiting"),
            formats.duration(duration),
            round(duration.total_seconds()),
            longest,
        )
        for name, duration in waits
    ]
