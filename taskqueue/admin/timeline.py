"""A task's rows on its axis: the time in the queue, then each step; those beside each other have one heading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.utils.safestring import SafeString

from taskqueue.admin import formats, markup, waterfall
from taskqueue.admin.step_rows import StepRow
from taskqueue.admin.waterfall import Bar, Scale
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
    """From its making to its first start, or as long as it has waited for that."""
    began = max(task.started_at or end, task.created_at)
    status = TaskStatus.SCHEDULED if task.status == TaskStatus.SCHEDULED else TaskStatus.QUEUED
    what = "In queue" if status == TaskStatus.QUEUED else "Not due"
    bar = Bar(look=status, start=task.created_at, end=began, what=what, is_hollow=status == TaskStatus.SCHEDULED)
    badge = markup.badge(status, label=what)
    return QueueRow(badge, waterfall.track(scale, [bar]), formats.duration(began - task.created_at))


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
