"""A task's page as frozen values, read with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.db.models import Subquery
from django.db.models.functions import Now
from django.utils.safestring import SafeString

from taskqueue import masks
from taskqueue.admin.shared import formats, task_details
from taskqueue.admin.shared.details import log_entries_of
from taskqueue.admin.shared.formats import Excerpt
from taskqueue.admin.shared.time_spent import TimeSpent, time_spent_of
from taskqueue.admin.task import queries, redaction
from taskqueue.admin.task.steps import Record, StepRow, rows_of
from taskqueue.admin.task.timeline import timeline_of
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.queries.reasons import Reason
from taskqueue.engine.queries.why import why
from taskqueue.errors import TaskNotFound
from taskqueue.models import PipelineStep, Task
from taskqueue.states import ENDED, DriftKind, StepStatus, TaskStatus

MAX_RERUNS = 10
MAX_CHILDREN = 20
MAX_HISTORY = 50
DRIFT_SENTENCES = {
    DriftKind.VERSION: "The code no longer has the body of the task's version.",
    DriftKind.ARGUMENTS: "The code calls it with other arguments than the recorded ones. Its recorded output was used.",
    DriftKind.UNUSED: "It is recorded, but the code no longer calls it.",
}


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """Everything that a task's page shows.

    Attributes:
        newer, older: the tasks created next and before.
        steps_kept: finished steps that a retry keeps.
        recorded: number of recorded steps; the page may show fewer.
        shows_payload: the user sees the whole payload, so they may edit it.
    """

    task: Task
    now: datetime
    newer: UUID | None
    older: UUID | None
    axis: SafeString
    queue: dict[str, Any]
    rows: list[StepRow]
    steps_kept: int
    recorded: int
    error: dict[str, Any] | None
    reasons: list[Reason]
    spent: TimeSpent
    steps: str
    failed_attempts: int
    payload: Excerpt
    shows_payload: bool
    result: Excerpt | None
    drift: list[dict[str, Any]]
    reruns: list[UUID]
    children: list[UUID]
    history: list[LogEntry]

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
    """Read a task's page with the values that the user may see. Raises TaskNotFound."""
    task = read(task_id)
    now: datetime = task.seen_at
    record = record_of(task, now, show_all=show_all)
    redacted = redaction.redact(record, rights)
    axis, queue, rows = timeline_of(task, rows_of(record), now)
    done = sum(status == StepStatus.SUCCEEDED for _pk, status in record.outline.steps)
    return TaskPage(
        task=task,
        now=now,
        newer=task.newer,
        older=task.older,
        axis=axis,
        queue=queue,
        rows=rows,
        steps_kept=done,
        recorded=len(record.outline.steps),
        error=error_summary(task, rows),
        reasons=reasons_of(task, redacted.secrets),
        spent=time_spent_of(task, now),
        steps=task_details.step_progress(task, done, len(record.known)),
        failed_attempts=len(record.attempts),
        payload=queries.excerpt_of(task, "payload"),
        shows_payload=redacted.is_whole,
        result=queries.excerpt_of(task, "result") if task.status == TaskStatus.SUCCEEDED else None,
        drift=drift_of(task),
        reruns=list(task.reruns.order_by("-pk").values_list("pk", flat=True)[:MAX_RERUNS]),
        children=list(
            task.children.filter(parallel_step="").order_by("pk").values_list("pk", flat=True)[:MAX_CHILDREN]
        ),
        history=history_of(task_id, redacted.secrets),
    )


def read(task_id: UUID) -> Any:
    """Read a task with the beginnings of payload and result, the database's time, and the ids of its neighbours."""
    others = Task.objects.filter(parallel_step="").values("pk")
    task = (
        Task.objects.select_related("worker")
        .defer("payload", "result")
        .annotate(
            seen_at=Now(),
            newer=Subquery(others.filter(pk__gt=task_id).order_by("pk")[:1]),
            older=Subquery(others.filter(pk__lt=task_id).order_by("-pk")[:1]),
            **queries.beginnings_of("payload", "result", length=formats.EXCERPT_BYTES),
        )
        .filter(pk=task_id, parallel_step="")
        .first()
    )
    if task is None:
        raise TaskNotFound(task_id)
    return task


def record_of(task: Task, now: datetime, *, show_all: bool) -> Record:
    outline = queries.outline_of(task, show_all=show_all)
    steps = queries.steps_of(outline.shown)
    attempts = queries.attempts_of(task, outline, steps)
    return Record(
        task=task,
        now=now,
        outline=outline,
        steps=steps,
        attempts=attempts,
        details=queries.details_of(attempts),
        known=list(PipelineStep.objects.filter(pipeline=task.pipeline_id).order_by("position", "pk")),
        reports=queries.reports_of(task, steps),
    )


def reasons_of(task: Task, secrets: Sequence[str]) -> list[Reason]:
    """Why a task that neither runs nor has ended is waiting, with secrets masked."""
    if task.status in (*ENDED, TaskStatus.RUNNING):
        return []
    return [replace(reason, sentence=masks.hidden(reason.sentence, secrets)) for reason in why(task.pk).reasons]


def error_summary(task: Task, rows: Sequence[StepRow]) -> dict[str, Any] | None:
    """Why a task failed, or the last failed attempt of a retrying one; `anchor` is that of the step's row."""
    error: dict[str, Any] | None = task.error
    step = (error or {}).get("step") or ""
    failed = [(row.key, row.last) for row in rows if row.last is not None]
    if error is None and task.status == TaskStatus.RETRYING and failed:
        step, last = max(failed, key=lambda pair: pair[1].attempt.pk)
        error = {"type": last.attempt.error_type, "message": last.message}
    if error is None:
        return None
    return {
        "type": error.get("type", ""),
        "message": error.get("message", ""),
        "step": step,
        "anchor": next((row.anchor for row in rows if row.key == step), ""),
        "is_final": task.error is not None,
    }


def drift_of(task: Task) -> list[dict[str, Any]]:
    """Where the task's record and the present code differ."""
    return [
        {
            "key": note.get("key") or "Version",
            "sentence": DRIFT_SENTENCES.get(note.get("kind", ""), ""),
            "recorded": note.get("recorded") or "none",
            "now": note.get("now"),
        }
        for note in task.drift or []
    ]


def history_of(task_id: UUID, secrets: Sequence[str]) -> list[LogEntry]:
    """A task's audit entries, newest first, with secrets masked."""
    entries = log_entries_of(Task, task_id, limit=MAX_HISTORY)
    for entry in entries:
        entry.change_message = masks.hidden(entry.change_message, secrets)
    return entries
