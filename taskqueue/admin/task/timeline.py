"""Draw a task's waterfall: the time in the queue, then each step; parallel steps have a common heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.task import waterfall
from taskqueue.admin.task.steps import StepRow
from taskqueue.admin.task.waterfall import Scale, Span
from taskqueue.models import Task
from taskqueue.states import StepStatus, TaskStatus


def timeline_of(task: Task, rows: Sequence[StepRow], now: datetime) -> tuple[SafeString, dict[str, Any], list[StepRow]]:
    """The axis, the queue row, and the step rows with their tracks."""
    end = task.finished_at or now
    last = max(end, *(span.end for row in rows for span in row.spans), task.created_at)
    scale = Scale(task.created_at, last, None if task.has_ended else now)
    drawn: list[StepRow] = []
    for is_parallel, group in groupby(rows, lambda row: row.is_parallel):
        tracks = [with_track(row, scale, task, now) for row in group]
        drawn += with_heading(tracks, scale) if is_parallel else tracks
    return waterfall.axis(scale), queue_row(task, scale, end), drawn


def with_track(row: StepRow, scale: Scale, task: Task, now: datetime) -> StepRow:
    is_retrying = row.status == StepStatus.RETRYING and not task.has_ended
    return replace(row, track=waterfall.track(scale, row.spans, backoff_until=now if is_retrying else None))


def queue_row(task: Task, scale: Scale, end: datetime) -> dict[str, Any]:
    """From the task's creation to its first start, or to `end`: first not due, then in the queue."""
    start = max(task.started_at or end, task.created_at)
    due = first_due(task, start)
    blocked = timedelta(seconds=task.blocked_seconds or 0)
    is_blocked = bool(task.blocked_on) if task.started_at is None else blocked > (start - due) / 2
    is_due = due < start or due == task.created_at
    label = "Not due" if not is_due else "Blocked by limits" if is_blocked else "In queue"
    status = TaskStatus.QUEUED if is_due else TaskStatus.SCHEDULED
    spans = []
    if due > task.created_at:
        spans.append(Span(status=TaskStatus.SCHEDULED, start=task.created_at, end=due, label="Not due", is_hollow=True))
    if is_due:
        spans.append(Span(status=TaskStatus.QUEUED, start=due, end=start, label=label))
    return {
        "badge": html.badge(status, label=label),
        "track": waterfall.track(scale, spans),
        "duration": formats.duration(start - (due if is_due else task.created_at)),
    }


def first_due(task: Task, start: datetime) -> datetime:
    """When a task was due for its first start.

    Later suspensions and attempts overwrite `due_at`. Then the due time is the start minus the recorded time in the
    queue and blocked.
    """
    if task.status == TaskStatus.SCHEDULED:
        return start
    if task.due_at is not None and task.due_at <= start and not task.blocked_seconds:
        return max(task.created_at, task.due_at)
    if task.since is None or task.started_at is None:
        return task.created_at
    ready = timedelta(seconds=(task.queued_seconds or 0) + (task.blocked_seconds or 0))
    return max(task.created_at, min(start - ready, start))


def with_heading(group: list[StepRow], scale: Scale) -> list[StepRow]:
    spans = [span for row in group for span in row.spans]
    heading, track = formats.count_of(len(group), "parallel step"), None
    if spans:
        start, end = min(span.start for span in spans), max(span.end for span in spans)
        whole = Span(status=TaskStatus.WAITING, start=start, end=end, label=heading, is_hollow=True)
        track = waterfall.track(scale, [whole])
    return [replace(group[0], heading=heading, group_track=track), *group[1:]]
