"""A task's page as frozen values, read with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Subquery
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from taskqueue import masks
from taskqueue.admin.shared import formats, task_details
from taskqueue.admin.shared.formats import Excerpt
from taskqueue.admin.task import queries, redaction
from taskqueue.admin.task.drift import DriftRow, drift_of
from taskqueue.admin.task.steps import Record, StepRow, rows_of
from taskqueue.admin.task.timeline import Timeline, timeline_of
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.queries.reasons import Code, Holder
from taskqueue.engine.queries.time_spent import TimeSpent, time_spent_of
from taskqueue.engine.queries.why import why
from taskqueue.errors import TaskNotFound
from taskqueue.models import PipelineStep, Task
from taskqueue.states import ENDED, StepStatus, TaskStatus

MAX_RERUNS = 10
MAX_CHILDREN = 20
MAX_HISTORY = 50


@dataclass(frozen=True, kw_only=True)
class ErrorSummary:
    """The error in the box at the top.

    Attributes:
        anchor: of the step's row.
        is_final: the task has failed; else it is retrying.
    """

    type: str
    message: str
    step: str
    anchor: str
    is_final: bool


@dataclass(frozen=True, kw_only=True)
class WaitReason:
    """Why the task waits, and the tasks that block it or that it waits for."""

    sentence: str
    holders: list[Holder]
    code: Code

    @property
    def links(self) -> SafeString:
        rows = (
            (
                reverse("admin:taskqueue_task_change", args=[holder.id]),
                holder.id,
                formats.short_id(holder.id),
                holder.status,
            )
            for holder in self.holders
        )
        return format_html_join(", ", '<a class="tq-id" href="{}" title="{}">{}</a> {}', rows)


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """Everything that a task's page shows.

    Attributes:
        newer: the task created next.
        older: the task created before this one.
        steps_kept: finished steps that a retry keeps.
        recorded: number of recorded steps; the page may show fewer.
        shows_payload: the user sees the whole payload, so they may edit it.
    """

    task: Task
    now: datetime
    newer: UUID | None
    older: UUID | None
    timeline: Timeline
    steps_kept: int
    recorded: int
    error: ErrorSummary | None
    reasons: list[WaitReason]
    spent: TimeSpent
    steps: str
    failed_attempts: int
    next_run_at: datetime | None
    percent: int | None
    payload: Excerpt
    shows_payload: bool
    result: Excerpt | None
    drift: list[DriftRow] = field(default_factory=list)
    reruns: list[UUID] = field(default_factory=list)
    children: list[UUID] = field(default_factory=list)
    history: list[LogEntry] = field(default_factory=list)

    @property
    def rows(self) -> list[StepRow]:
        return self.timeline.rows

    @property
    def refresh_seconds(self) -> int | None:
        """Seconds between two live updates; None for an ended task."""
        if self.task.has_ended:
            return None
        return 2 if self.task.status == TaskStatus.RUNNING else 5

    @property
    def steps_shown(self) -> int:
        return sum(row.is_recorded for row in self.rows)

    @property
    def current(self) -> StepRow | None:
        """The row that failed, is retrying or runs."""
        return next((row for row in self.rows if row.is_open or row.status == TaskStatus.RUNNING), None)


def page_of(task_id: UUID, rights: CallerPermissions, *, show_all: bool = False) -> TaskPage:
    """Read a task's page.

    Args:
        task_id: the task.
        rights: of the user; values that they may not see are redacted.
        show_all: show up to 1,000 steps instead of a selection.

    Raises:
        TaskNotFound
    """
    task = read(task_id)
    now: datetime = task.seen_at
    record = record_of(task, now, show_all=show_all)
    redacted = redaction.redact(record, rights)
    timeline = timeline_of(task, rows_of(record), now)
    done = sum(status == StepStatus.SUCCEEDED for _pk, status in record.outline.steps)
    return TaskPage(
        task=task,
        now=now,
        newer=task.newer,
        older=task.older,
        timeline=timeline,
        steps_kept=done,
        recorded=len(record.outline.steps),
        error=error_summary(task, timeline.rows),
        reasons=reasons_of(task, redacted.secrets),
        spent=time_spent_of(task, now),
        steps=task_details.step_progress(task, done, len(record.known)),
        failed_attempts=len(record.attempts),
        next_run_at=None if task.status in (*ENDED, TaskStatus.RUNNING) else task.due_at,
        percent=None if task.progress is None else round(task.progress * 100),
        payload=task_excerpt(task, "payload"),
        shows_payload=redacted.is_whole,
        result=task_excerpt(task, "result") if task.status == TaskStatus.SUCCEEDED else None,
        drift=drift_of(task),
        reruns=list(task.reruns.order_by("-pk").values_list("pk", flat=True)[:MAX_RERUNS]),
        children=children_of(task),
        history=history_of(task_id, redacted.secrets),
    )


def children_of(task: Task) -> list[UUID]:
    children = task.children.filter(parallel_step="").order_by("pk")
    return list(children.values_list("pk", flat=True)[:MAX_CHILDREN])


def read(task_id: UUID) -> Any:
    """Read a task with the beginnings of payload and result, the database's time, and the ids of its neighbours.

    Raises:
        TaskNotFound
    """
    others = Task.objects.filter(parallel_step="").values("pk")
    task = (
        Task.objects.select_related("worker")
        .defer("payload", "result")
        .annotate(
            seen_at=Now(),
            newer=Subquery(others.filter(pk__gt=task_id).order_by("pk")[:1]),
            older=Subquery(others.filter(pk__lt=task_id).order_by("-pk")[:1]),
            **{
                f"{column}_text": queries.beginning_of(column, formats.EXCERPT_BYTES)
                for column in ("payload", "result")
            },
            **{f"{column}_size": queries.size_of(column) for column in ("payload", "result")},
        )
        .filter(pk=task_id, parallel_step="")
        .first()
    )
    if task is None:
        raise TaskNotFound(task_id)
    return task


def record_of(task: Task, now: datetime, *, show_all: bool) -> Record:
    known = list(PipelineStep.objects.filter(pipeline=task.pipeline_id).order_by("position", "pk"))
    outline = queries.outline_of(task, show_all=show_all)
    steps = queries.steps_of(outline.shown)
    attempts = queries.attempts_of(task, outline, steps)
    details = queries.details_of(attempts)
    reports = queries.reports_of(task, steps)
    return Record(
        task=task,
        now=now,
        outline=outline,
        steps=steps,
        attempts=attempts,
        details=details,
        known=known,
        reports=reports,
    )


def task_excerpt(task: Any, column: str) -> Excerpt:
    address = reverse("admin:taskqueue_task_download", args=[task.pk, column])
    return formats.excerpt_from_text(
        getattr(task, f"{column}_text") or "null", getattr(task, f"{column}_size") or 4, address=address
    )


def reasons_of(task: Task, secrets: Sequence[str]) -> list[WaitReason]:
    """Why a task that neither runs nor has ended is waiting, with secrets masked."""
    if task.status in (*ENDED, TaskStatus.RUNNING):
        return []
    return [
        WaitReason(sentence=masks.hidden(reason.sentence, secrets), holders=list(reason.holders), code=reason.code)
        for reason in why(task.pk).reasons
    ]


def error_summary(task: Task, rows: Sequence[StepRow]) -> ErrorSummary | None:
    """Why a task failed, or the last failed attempt of a retrying one."""
    error: dict[str, Any] | None = task.error
    step = (error or {}).get("step") or ""
    failed = [(row.key, row.last) for row in rows if row.last is not None]
    if error is None and task.status == TaskStatus.RETRYING and failed:
        step, last = max(failed, key=lambda pair: pair[1].attempt.pk)
        error = {"type": last.attempt.error_type, "message": last.message}
    if error is None:
        return None
    return ErrorSummary(
        type=error.get("type", ""),
        message=error.get("message", ""),
        step=step,
        anchor=next((row.anchor for row in rows if row.key == step), ""),
        is_final=task.error is not None,
    )


def history_of(task_id: UUID, secrets: Sequence[str]) -> list[LogEntry]:
    """A task's audit entries, newest first, with secrets masked."""
    content_type = ContentType.objects.get_for_model(Task)
    entries = LogEntry.objects.filter(content_type=content_type, object_id=str(task_id)).select_related("user")
    shown = list(entries.order_by("-action_time", "-pk")[:MAX_HISTORY])
    for entry in shown:
        entry.change_message = masks.hidden(entry.change_message, secrets)
    return shown
