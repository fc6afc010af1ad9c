"""A task's page as plain values: what its template shows, read with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from taskqueue.admin import columns, formats
from taskqueue.admin.drift_rows import DriftRow, drift_of
from taskqueue.admin.formats import Excerpt
from taskqueue.admin.step_rows import StepRow, rows_of
from taskqueue.engine import queries, sights
from taskqueue.engine.reasons import Holder
from taskqueue.engine.rights import Rights
from taskqueue.engine.why import why
from taskqueue.errors import TaskNotFound
from taskqueue.models import PipelineStep, Task
from taskqueue.states import ENDED, StepStatus, TaskStatus

RERUNS_SHOWN = 10
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
    trouble: Trouble | None
    reasons: list[ShownReason]
    waited: str
    took: str
    steps: str
    failed_tries: int
    next_run_at: datetime | None
    percent: int | None
    payload: Excerpt
    result: Excerpt | None
    drift: list[DriftRow] = field(default_factory=list)
    reruns: list[UUID] = field(default_factory=list)
    history: list[LogEntry] = field(default_factory=list)

    @property
    def steps_kept(self) -> int:
        """How many finished steps a retry would keep."""
        return sum(row.status == StepStatus.SUCCEEDED for row in self.rows)


def page_of(task_id: UUID, rights: Rights) -> TaskPage:
    """Read a task's page; eight queries, and those that tell why it waits.

    Args:
        task_id: the task.
        rights: of the viewer, who sees so much of payload, results and steps.

    Raises:
        TaskNotFound
    """
    task = Task.objects.select_related("worker").annotate(seen_at=Now()).filter(pk=task_id).first()
    if task is None:
        raise TaskNotFound(task_id)
    now: datetime = task.seen_at
    known = list(PipelineStep.objects.filter(pipeline=task.pipeline_id).order_by("position", "pk"))
    attempts = queries.attempts_of(task)
    recorded = queries.steps_of(task)
    sights.cover_rows(task, recorded, attempts, rights.sight(task.pipeline_id))
    rows = rows_of(task, recorded=recorded, attempts=attempts, known=known, now=now)
    done = sum(row.status == StepStatus.SUCCEEDED for row in rows)
    return TaskPage(
        task=task,
        now=now,
        rows=rows,
        trouble=trouble_of(task, rows),
        reasons=reasons_of(task),
        waited=columns.waited(task, now),
        took=columns.took(task, now),
        steps=columns.steps_share(done, len(known)),
        failed_tries=len(attempts),
        next_run_at=None if task.status in (*ENDED, TaskStatus.RUNNING) else task.due_at,
        percent=None if task.progress is None else round(task.progress * 100),
        payload=formats.excerpt(task.payload),
        result=formats.excerpt(task.result) if task.status == TaskStatus.SUCCEEDED else None,
        drift=drift_of(task),
        reruns=list(task.reruns.order_by("-pk").values_list("pk", flat=True)[:RERUNS_SHOWN]),
        history=history_of(task_id),
    )


def reasons_of(task: Task) -> list[ShownReason]:
    """Why a task that has neither ended nor runs is waiting."""
    if task.status in (*ENDED, TaskStatus.RUNNING):
        return []
    return [ShownReason(sentence=reason.sentence, holders=list(reason.holders)) for reason in why(task.pk).reasons]


def trouble_of(task: Task, rows: Iterable[StepRow]) -> Trouble | None:
    """Why a task failed, or why it is retrying: the last failed try."""
    if task.error is not None:
        return trouble(task.error, step=task.error.get("step") or "", rows=rows, is_final=True)
    failed = [(row.key, row.attempts[-1].attempt) for row in rows if row.attempts]
    if task.status != TaskStatus.RETRYING or not failed:
        return None
    key, last = max(failed, key=lambda pair: pair[1].pk)
    return trouble({"type": last.error_type, "message": last.error_message}, step=key, rows=rows, is_final=False)


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


def history_of(task_id: UUID) -> list[LogEntry]:
    """Who did what to a task, newest first."""
    content_type = ContentType.objects.get_for_model(Task)
    entries = LogEntry.objects.filter(content_type=content_type, object_id=str(task_id)).select_related("user")
    return list(entries.order_by("-action_time", "-pk")[:HISTORY_SHOWN])
