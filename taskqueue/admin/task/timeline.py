"""A task's rows on its axis: the time in the queue, then each step; those beside each other have one heading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from django.utils.safestring import SafeString

from taskqueue.admin.shared import formats, html
from taskqueue.admin.task import waterfall
from taskqueue.admin.task.steps import StepRow
from taskqueue.admin.task.waterfall import Bar, Scale
from taskqueue.models import Task
from taskqueue.states import StepStatus, TaskStatus


@dataclass(frozen=True)
class QueueRow:
    """The time before its first start."""

    badge: SafeString
    track: SafeString
    took: str


@dataclass(frozen=True)
class Timeline:
    """What the waterfall shows above its rows."""

    axis: SafeString
    queue: QueueRow


def timeline_of(task: Task, rows: Sequence[StepRow], now: datetime) -> Timeline:
    """Draw each row, and what stands above them."""
    end = task.finished_at or now
    scale = Scale(task.created_at, max(end, *(bar.end for row in rows for bar in row.bars), task.created_at),
                  None if task.has_ended else now)  # fmt: skip
    for row in rows:
        row.track = waterfall.track(scale, row.bars, backoff_to=backoff_of(task, row, now))
    for heads in parallel(rows):
        name_group(heads, scale)
    return Timeline(waterfall.axis(scale), queue_row(task, scale, end))


def backoff_of(task: Task, row: StepRow, now: datetime) -> datetime | None:
    """Up to where the dashed line of a row goes whose next try is ahead."""
    return now if row.status == StepStatus.RETRYING and not task.has_ended else None


def queue_row(task: Task, scale: Scale, end: datetime) -> QueueRow:
    """From its making to its first start, or as long as it has waited for that: not due, and then in the queue."""
    began = max(task.started_at or end, task.created_at)
    due = due_of(task, began)
    blocked = timedelta(seconds=task.blocked_seconds or 0)
    is_held = bool(task.blocked_on) if task.started_at is None else blocked > (began - due) / 2
    is_due = due < began or due == task.created_at
    what = "Not due" if not is_due else "Held back by limits" if is_held else "In queue"
    status = TaskStatus.QUEUED if is_due else TaskStatus.SCHEDULED
    bars = []
    if due > task.created_at:
        bars.append(Bar(look=TaskStatus.SCHEDULED, start=task.created_at, end=due, what="Not due", is_hollow=True))
    if is_due:
        bars.append(Bar(look=TaskStatus.QUEUED, start=due, end=began, what=what))
    badge = html.badge(status, label=what)
    return QueueRow(badge, waterfall.track(scale, bars), formats.duration(began - (due if is_due else task.created_at)))


def due_of(task: Task, began: datetime) -> datetime:
    """When a task was first due. Later pauses and attempts write over that time; then the time before its start that
    it spent neither in the queue nor held back is what it was early.
    """
    if task.status == TaskStatus.SCHEDULED:
        return began
    if task.due_at is not None and task.due_at <= began and not task.blocked_seconds:
        return max(task.created_at, task.due_at)
    if task.since is None:
        return task.created_at
    ready = timedelta(seconds=(task.queued_seconds or 0) + (task.blocked_seconds or 0))
    return max(task.created_at, min(began - ready, began)) if task.started_at is not None else task.created_at


def parallel(rows: Sequence[StepRow]) -> Iterator[list[StepRow]]:
    """Each set of neighbours that were asked for together."""
    for is_parallel, group in groupby(rows, lambda row: row.is_parallel):
        if is_parallel:
            yield list(group)


def name_group(group: list[StepRow], scale: Scale) -> None:
    """Put a heading with its own bar above the first of a group."""
    bars = [bar for row in group for bar in row.bars]
    group[0].heading = formats.count_of(len(group), "parallel step")
    if bars:
        start, end = min(bar.start for bar in bars), max(bar.end for bar in bars)
        whole = Bar(look=TaskStatus.WAITING, start=start, end=end, what=group[0].heading, is_hollow=True)
        group[0].group_track = waterfall.track(scale, [whole])
