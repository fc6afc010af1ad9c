"""The tables of the overview: workers, pipelines, recent failures, and time waiting for limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils.safestring import SafeString

from taskqueue.admin.overview.queries import PIPELINES_SHOWN, OverviewData
from taskqueue.admin.pipelines.stats import bars_of, success_rate, success_tone
from taskqueue.admin.shared import formats, html
from taskqueue.admin.shared.filters import format_time_range
from taskqueue.admin.shared.links import app_url, list_url, page_url
from taskqueue.admin.shared.queues import queue_label, taken_by
from taskqueue.engine.queries.stats import PipelineDay, QueueDepth
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.models import Alert, Task, Worker
from taskqueue.models.worker import EVENT_LOOP
from taskqueue.queues import DEFAULT_QUEUE

WORKERS_SHOWN: Final = 8
ALERTS_SHOWN: Final = 10


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
    queues: str
    task_address: str

    @property
    def is_event_loop(self) -> bool:
        return self.worker.thread == EVENT_LOOP


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
        queues="" if taken_by(worker).takes_all else str(taken_by(worker)),
        task_address=page_url("task", worker.task_id) if worker.task_id else "",
    )


def alert_row(alert: Alert, now: datetime) -> dict[str, Any]:
    silenced_until = alert.rule.silenced_until
    is_silenced = silenced_until is not None and alert.rule.is_silenced_at(now)
    return {
        "alert": alert,
        "address": app_url(alert.link),
        "since": html.moment(alert.firing_since, now),
        "silence": f"silenced until {silenced_until:%b %d, %H:%M} UTC" if is_silenced else "",
    }


def pipelines(data: OverviewData) -> list[dict[str, Any]]:
    """The busiest pipelines of the last 24 hours; when there are few, others after them."""
    days = {day.pipeline: day for day in data.days}
    others = sorted(data.paused.keys() - days.keys(), key=lambda name: (name not in data.queue_depths, name))
    until = data.stats.counted_until
    return [
        {
            "name": name,
            "breakable_name": html.wrap_at_slashes(name),
            "address": page_url("pipeline", name),
            "queue": queue_label(data.queues.get(name, DEFAULT_QUEUE)),
            "is_paused": data.paused.get(name) is not None,
            **day_context(name, days.get(name), until),
            "in_queue": f"{depth_text(data.queue_depths[name])} in queue" if name in data.queue_depths else "",
            "queue_address": list_url("task", pipeline=name, status="queued"),
        }
        for name in [*days, *others][:PIPELINES_SHOWN]
    ]


def unserved_queues(data: OverviewData) -> list[str]:
    """The queues with tasks that no live worker takes, in words; none while no worker is live, which a card says."""
    waiting: Counter[str] = Counter()
    for name, depth in data.queue_depths.items():
        if data.paused.get(name) is not None:
            continue
        for queue, number in [(data.queues.get(name, DEFAULT_QUEUE), depth.own), *depth.in_step_queues.items()]:
            if number and data.queue_workers.get(queue) == 0:
                waiting[queue] += number
    is_any_live = any(data.queue_workers.values())
    return [f"{queue} ({formats.count_of(number, 'task')})" for queue, number in sorted(waiting.items()) if is_any_live]


def day_context(name: str, day: PipelineDay | None, counted_until: datetime) -> dict[str, Any]:
    """The last 24 hours of a pipeline; without a day, none of its tasks ended."""
    if day is None:
        return {"success": formats.EMPTY_VALUE, "counts": "no task ended"}
    succeeded, failed = day.total.succeeded, day.total.failed
    return {
        "bars": bars_of(day.bars, succeeded, failed),
        "success": success_rate(succeeded, failed) or formats.EMPTY_VALUE,
        "tone": success_tone(succeeded, failed),
        "counts": f"{succeeded + failed + day.total.cancelled:,} ended",
        "ended_address": list_url("task", pipeline=name, ended=format_time_range(day.total.start, counted_until)),
    }


def depth_text(queue_depth: QueueDepth) -> str:
    return f"{queue_depth.number:,}{'+' if queue_depth.is_capped else ''}"


def recent_failures(data: OverviewData) -> list[dict[str, Any]]:
    return [failure_context(task, task.error or {}, data.stats.now) for task in data.failures]


def failure_context(task: Task, error: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "task": task,
        "address": page_url("task", task.pk),
        "short_id": formats.short_id(task.pk),
        "error_type": error.get("type", ""),
        "message": formats.first_line(error.get("message", "")),
        "step": error.get("step") or formats.EMPTY_VALUE,
        "ended": html.moment(task.finished_at, now),
    }


def limit_waits(waits: Sequence[tuple[str, timedelta]]) -> list[dict[str, Any]]:
    """How long the tasks of each pipeline waited for limits; `longest` is the largest value of the table."""
    longest = max((round(duration.total_seconds()) for _name, duration in waits), default=1)
    return [
        {
            "name": name,
            "address": list_url("task", pipeline=name, status="queued,waiting"),
            "duration": formats.duration(duration),
            "seconds": round(duration.total_seconds()),
            "longest": longest,
        }
        for name, duration in waits
    ]
