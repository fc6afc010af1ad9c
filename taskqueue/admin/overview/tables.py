"""The tables of the overview: workers, pipelines, recent failures, and time lost to limits."""

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
from taskqueue.admin.pipelines.stats import bars_of, share_of, tone_of
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.filters import written_slice
from taskqueue.engine.queries import stats
from taskqueue.engine.queries.stats import Standing
from taskqueue.engine.runtime.liveness import SILENCE
from taskqueue.models import Task, Worker

WORKERS_SHOWN: Final = 8


def tasks_at(**question: str) -> str:
    """The address of a part of the task list."""
    return f"{reverse('admin:taskqueue_task_changelist')}?{urlencode(question, safe=':.,@')}"


@dataclass(frozen=True)
class WorkerRow:
    """A worker process that has not ended."""

    worker: Worker
    is_live: bool
    is_able: bool
    """Whether it lives and its claims do not fail."""
    is_behind: bool
    """Whether it runs another version than most recently started one."""
    badge: SafeString
    beat: SafeString
    task_address: str

    @property
    def is_busy(self) -> bool:
        """Whether it has a task in its hands."""
        return self.worker.task_id is not None


def workers(data: OverviewData) -> list[WorkerRow]:
    """Those that have not ended, those first that are silent or cannot claim."""
    newest = max(data.workers, key=lambda worker: worker.started_at).version if data.workers else ""
    rows = [worker_row(worker, newest, data.figures.now) for worker in data.workers]
    return sorted(rows, key=lambda row: (row.is_able, row.worker.host, row.worker.pid))


def worker_row(worker: Worker, newest: str, now: datetime) -> WorkerRow:
    """One of them."""
    is_live = worker.heartbeat_at > now - SILENCE
    state = "silent" if not is_live else "claim_error" if worker.claim_error else "live"
    return WorkerRow(
        worker=worker,
        is_live=is_live,
        is_able=state == "live",
        is_behind=worker.version != newest,
        badge=html.badge(state),
        beat=html.moment(worker.heartbeat_at, now),
        task_address=reverse("admin:taskqueue_task_change", args=[worker.task_id]) if worker.task_id else "",
    )


@dataclass(frozen=True)
class PipelineRow:
    """A pipeline with its last day."""

    name: str
    shown_name: SafeString
    address: str
    is_paused: bool
    bars: SafeString
    success: str
    tone: str
    counts: str
    ended_address: str
    waiting: str
    waiting_address: str


def pipelines(data: OverviewData) -> list[PipelineRow]:
    """The busiest of the last day, filled up with others that are known."""
    days = {day.pipeline: day for day in data.days}
    quiet = sorted(data.paused.keys() - days.keys(), key=lambda name: (name not in data.standing, name))
    return [
        pipeline_row(name, days.get(name), data.standing.get(name), data.paused.get(name), data.figures.counted_until)
        for name in [*days, *quiet][:PIPELINES_SHOWN]
    ]


def pipeline_row(
    name: str,
    day: stats.PipelineDay | None,
    standing: Standing | None,
    paused_at: datetime | None,
    counted_until: datetime,
) -> PipelineRow:
    """One of them."""
    return PipelineRow(
        name=name,
        shown_name=html.breakable(name),
        address=reverse("admin:taskqueue_pipeline_change", args=[quote(name)]),
        is_paused=paused_at is not None,
        bars=SafeString("") if day is None else bars_of(day.bars, day.succeeded, day.failed),
        success=(day is not None and share_of(day.succeeded, day.failed)) or formats.NOTHING,
        tone="" if day is None else tone_of(day.succeeded, day.failed),
        counts="no task ended" if day is None else f"{day.succeeded + day.failed + day.cancelled:,} ended",
        ended_address="" if day is None else tasks_at(pipeline=name, ended=written_slice(day.start, counted_until)),
        waiting="" if standing is None else f"{standing.number:,}{'+' if standing.is_capped else ''} in queue",
        waiting_address=tasks_at(pipeline=name, status="queued"),
    )


@dataclass(frozen=True)
class FailureRow:
    """A task that failed."""

    task: Task
    address: str
    id_tail: str
    error_type: str
    message: str
    step: str
    ended: SafeString


def recent_failures(data: OverviewData) -> list[FailureRow]:
    """The tasks that failed last."""
    return [failure_row(task, data.figures.now) for task in data.failures]


def failure_row(task: Task, now: datetime) -> FailureRow:
    """One of them."""
    error = task.error or {}
    return FailureRow(
        task=task,
        address=reverse("admin:taskqueue_task_change", args=[task.pk]),
        id_tail=formats.id_tail(task.pk),
        error_type=error.get("type", ""),
        message=formats.first_line(error.get("message", "")),
        step=error.get("step") or formats.NOTHING,
        ended=html.moment(task.finished_at, now),
    )


@dataclass(frozen=True)
class LostRow:
    """How long a pipeline's tasks waited for limits, all together."""

    name: str
    address: str
    length: str
    value: int
    most: int


def lost(found: Sequence[tuple[str, timedelta]]) -> list[LostRow]:
    """One row each, with the longest as the measure of all."""
    most = max((round(length.total_seconds()) for _name, length in found), default=1)
    return [
        LostRow(
            name,
            tasks_at(pipeline=name, status="queued,waiting"),
            formats.duration(length),
            round(length.total_seconds()),
            most,
        )
        for name, length in found
    ]
