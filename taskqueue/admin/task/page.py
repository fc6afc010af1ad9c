"""A task's page as plain values: what its template shows, read with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from taskqueue.engine.access.permissions import Rights
from taskqueue.engine.queries.reasons import Code, Holder
from taskqueue.engine.queries.time_spent import Spent, spent_of
from taskqueue.engine.queries.why import why
from taskqueue.errors import TaskNotFound
from taskqueue.models import PipelineStep, Task
from taskqueue.states import ENDED, StepStatus, TaskStatus

RERUNS_SHOWN = 10
CHILDREN_SHOWN = 20
HISTORY_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What went wrong, as the box at the top says it."""

    type: str
    message: str
    step: str
    anchor: str
    is_final: bool


@dataclass(frozen=True, kw_only=True)
class ShownReason:
    """Why it waits: a sentence, and the tasks that stand in the way or are waited for."""

    sentence: str
    holders: list[Holder]
    code: Code

    @property
    def links(self) -> SafeString:
        """Each of them with its status."""
        rows = (
            (
                reverse("admin:taskqueue_task_change", args=[holder.id]),
                holder.id,
                formats.id_tail(holder.id),
                holder.status,
            )
            for holder in self.holders
        )
        return format_html_join(", ", '<a class="tq-id" href="{}" title="{}">{}</a> {}', rows)


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """Everything that a task's page shows."""

    task: Task
    now: datetime
    rows: list[StepRow]
    steps_kept: int
    """How many finished steps a retry would keep."""
    recorded: int
    """How many steps are recorded; more than there are rows when not all are shown."""
    timeline: Timeline
    trouble: Trouble | None
    reasons: list[ShownReason]
    spent: Spent
    steps: str
    failed_attempts: int
    next_run_at: datetime | None
    percent: int | None
    payload: Excerpt
    shows_payload: bool
    """Whether nothing of it is masked, so that it can be edited."""
    result: Excerpt | None
    drift: list[DriftRow] = field(default_factory=list)
    reruns: list[UUID] = field(default_factory=list)
    children: list[UUID] = field(default_factory=list)
    history: list[LogEntry] = field(default_factory=list)

    @property
    def every(self) -> int | None:
        """How many seconds after the last look it may have changed; None once it has ended."""
        if self.task.has_ended:
            return None
        return 2 if self.task.status == TaskStatus.RUNNING else 5

    @property
    def steps_shown(self) -> int:
        """How many of the recorded steps are shown."""
        return sum(row.is_recorded for row in self.rows)

    @property
    def current(self) -> StepRow | None:
        """The row that failed, is tried again, or runs."""
        return next((row for row in self.rows if row.is_open or row.status == TaskStatus.RUNNING), None)

    @property
    def newer(self) -> UUID | None:
        """The task that was made next."""
        newer: UUID | None = self.task.newer  # type: ignore[attr-defined]  # annotated
        return newer

    @property
    def older(self) -> UUID | None:
        """The task that was made before it."""
        older: UUID | None = self.task.older  # type: ignore[attr-defined]  # annotated
        return older


def page_of(task_id: UUID, rights: Rights, *, show_all: bool = False) -> TaskPage:
    """Read a task's page; a fixed number of queries, and those that tell why it waits.

    Args:
        task_id: the task.
        rights: of the viewer, who sees so much of payload, results, steps and what they logged.
        show_all: more of its steps than those that matter, if there are many.

    Raises:
        TaskNotFound
    """
    task = read(task_id)
    now: datetime = task.seen_at
    record = record_of(task, now, show_all=show_all)
    seen = redaction.cover(record, rights)
    rows = rows_of(record)
    done = sum(status == StepStatus.SUCCEEDED for _row, status in record.outline.steps)
    return TaskPage(
        task=task,
        now=now,
        rows=rows,
        steps_kept=done,
        recorded=len(record.outline.steps),
        timeline=timeline_of(task, rows, now),
        trouble=trouble_of(task, rows),
        reasons=reasons_of(task, seen.secrets),
        spent=spent_of(task, now),
        steps=task_details.steps_share(task, done, len(record.known)),
        failed_attempts=len(record.attempts),
        next_run_at=None if task.status in (*ENDED, TaskStatus.RUNNING) else task.due_at,
        percent=None if task.progress is None else round(task.progress * 100),
        payload=excerpt_of(task, "payload"),
        shows_payload=seen.is_whole,
        result=excerpt_of(task, "result") if task.status == TaskStatus.SUCCEEDED else None,
        drift=drift_of(task),
        reruns=list(task.reruns.order_by("-pk").values_list("pk", flat=True)[:RERUNS_SHOWN]),
        children=children_of(task),
        history=history_of(task_id, seen.secrets),
    )


def children_of(task: Task) -> list[UUID]:
    """The oldest children, without parallel steps."""
    children = task.children.filter(parallel_step="").order_by("pk")
    return list(children.values_list("pk", flat=True)[:CHILDREN_SHOWN])


def read(task_id: UUID) -> Any:
    """A task with the beginnings of payload and result, the present moment, and its neighbours in time.

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
            **{f"{what}_text": queries.beginning_of(what, formats.SHOWN_BYTES) for what in ("payload", "result")},
            **{f"{what}_size": queries.size_of(what) for what in ("payload", "result")},
        )
        .filter(pk=task_id, parallel_step="")
        .first()
    )
    if task is None:
        raise TaskNotFound(task_id)
    return task


def record_of(task: Task, now: datetime, *, show_all: bool) -> Record:
    """What is recorded of its steps."""
    known = list(PipelineStep.objects.filter(pipeline=task.pipeline_id).order_by("position", "pk"))
    outline = queries.outline_of(task, show_all=show_all)
    steps = queries.steps_of(outline.shown)
    attempts = queries.tries_of(task, outline, steps)
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


def excerpt_of(task: Any, what: str) -> Excerpt:
    """The beginning of its payload or result."""
    address = reverse("admin:taskqueue_task_download", args=[task.pk, what])
    return formats.excerpt_of(
        getattr(task, f"{what}_text") or "null", getattr(task, f"{what}_size") or 4, address=address
    )


def reasons_of(task: Task, secrets: Sequence[str]) -> list[ShownReason]:
    """Why a task that has neither ended nor runs is waiting, without these secrets."""
    if task.status in (*ENDED, TaskStatus.RUNNING):
        return []
    return [
        ShownReason(sentence=masks.hidden(reason.sentence, secrets), holders=list(reason.holders), code=reason.code)
        for reason in why(task.pk).reasons
    ]


def trouble_of(task: Task, rows: Iterable[StepRow]) -> Trouble | None:
    """Why a task failed, or why it is retrying: the last failed try."""
    if task.error is not None:
        return trouble(task.error, step=task.error.get("step") or "", rows=rows, is_final=True)
    failed = [(row.key, row.last) for row in rows if row.last is not None]
    if task.status != TaskStatus.RETRYING or not failed:
        return None
    key, last = max(failed, key=lambda pair: pair[1].attempt.pk)
    return trouble({"type": last.attempt.error_type, "message": last.message}, step=key, rows=rows, is_final=False)


def trouble(error: dict[str, Any], *, step: str, rows: Iterable[StepRow], is_final: bool) -> Trouble:
    """An error with the way to the step that it came from."""
    anchors = {row.key: row.anchor for row in rows}
    return Trouble(
        type=error.get("type", ""),
        message=error.get("message", ""),
        step=step,
        anchor=anchors.get(step, ""),
        is_final=is_final,
    )


def history_of(task_id: UUID, secrets: Sequence[str]) -> list[LogEntry]:
    """Who did what to a task, newest first, without these secrets."""
    content_type = ContentType.objects.get_for_model(Task)
    entries = LogEntry.objects.filter(content_type=content_type, object_id=str(task_id)).select_related("user")
    shown = list(entries.order_by("-action_time", "-pk")[:HISTORY_SHOWN])
    for entry in shown:
        entry.change_message = masks.hidden(entry.change_message, secrets)
    return shown
