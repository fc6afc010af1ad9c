"""Read the steps and attempts of a task's page: a fixed number of queries, each of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Case, CharField, F, Func, IntegerField, JSONField, Q, TextField, Value, When
from django.db.models.functions import Cast, Left
from django.urls import reverse

from taskqueue.admin.shared import formats
from taskqueue.admin.shared.formats import Excerpt
from taskqueue.models import Attempt, Step, StepReport, Task
from taskqueue.states import StepKind, StepStatus, TaskStatus

if TYPE_CHECKING:
    from uuid import UUID

MAX_STEPS = 200
"""With more steps, the page shows the unfinished ones and the last ones only."""
LAST_STEPS = 50
MAX_STEPS_IN_FULL = 1_000
"""Steps that `?steps=all` shows."""
MAX_OUTLINE = 10_000
"""The newest steps; the page ignores older ones."""
MAX_ATTEMPTS = 1_000
MAX_DETAILED_ATTEMPTS = 40
"""The newest attempts have their traceback and log on the page."""
PAGE_BYTES = 1024 * 1024
"""Of all inputs and outputs together."""
MESSAGE_LENGTH = 4_000
NEWEST_FIRST = (F("pk") + 0).desc()
"""With a plain `-pk` and a limit, the planner may read the primary key's index through the whole table."""


@dataclass(frozen=True)
class Outline:
    """The keys and statuses of a task's recorded steps in their order, and the keys of those on the page."""

    steps: list[tuple[int, str]]
    shown: list[int]

    @property
    def has_all(self) -> bool:
        return len(self.shown) == len(self.steps)

    @property
    def positions(self) -> dict[int, tuple[int, int]]:
        """By row: its number from 1, and how many earlier steps have succeeded."""
        positions, succeeded = {}, 0
        for number, (pk, status) in enumerate(self.steps, start=1):
            positions[pk] = number, succeeded
            succeeded += status == StepStatus.SUCCEEDED
        return positions


def outline_of(task: Task, *, show_all: bool) -> Outline:
    rows = Step.objects.filter(task=task).order_by(NEWEST_FIRST).values_list("pk", "status")[:MAX_OUTLINE]
    steps = list(reversed(rows))
    return Outline(steps, steps_to_show(steps, show_all=show_all))


def steps_to_show(steps: Sequence[tuple[int, str]], *, show_all: bool) -> list[int]:
    """All steps if there are few; else the last unfinished ones and the last ones."""
    rows = [pk for pk, _status in steps]
    if len(rows) <= MAX_STEPS:
        return rows
    if show_all:
        return rows[-MAX_STEPS_IN_FULL:]
    unfinished = [pk for pk, status in steps if status != StepStatus.SUCCEEDED]
    return sorted({*unfinished[-(MAX_STEPS - LAST_STEPS) :], *rows[-LAST_STEPS:]})


def text_of(column: str) -> Cast:
    return Cast(column, TextField())


def size_of(column: str) -> Func:
    return Func(text_of(column), function="octet_length", output_field=IntegerField())


def beginnings_of(*columns: str, length: int) -> dict[str, Any]:
    """Annotations for `excerpt_of`: the beginning of each column as text, and its whole size."""
    texts = {f"{column}_text": Left(text_of(column), length, output_field=CharField()) for column in columns}
    return {**texts, **{f"{column}_size": size_of(column) for column in columns}}


def excerpt_of(row: Any, column: str) -> Excerpt:
    """The beginning of a value of a task or step, with the address of the whole value."""
    task_id, what = (row.pk, column) if isinstance(row, Task) else (row.task_id, f"{column}-{row.pk}")
    text, size = getattr(row, f"{column}_text") or "null", getattr(row, f"{column}_size") or 4
    address = reverse("admin:taskqueue_task_download", args=[task_id, what])
    return formats.excerpt_from_text(text, size, address=address)


def steps_of(rows: Sequence[int]) -> list[Step]:
    """Read steps with the beginnings of their inputs and outputs, shorter the more steps there are."""
    length = max(1024, min(formats.EXCERPT_BYTES, PAGE_BYTES // max(len(rows), 1)))
    steps = (
        Step.objects.filter(pk__in=rows)
        .select_related("child", "child__worker")
        .defer("input", "output", "logs", "child__payload", "child__result")
        .annotate(
            **beginnings_of("input", "output", length=length),
            log_size=size_of("logs"),
            log=Case(
                When(log_size__lte=length, then="logs"), default=Value(None, JSONField()), output_field=JSONField()
            ),
        )
    )
    return list(steps.order_by("pk"))


def attempts_of(task: Task, outline: Outline, steps: Sequence[Step]) -> list[Attempt]:
    """Read the failed attempts of a task and of its unfinished parallel steps, oldest first.

    When the page does not show all steps: those of the shown steps, the body, the failed step and the running step.
    """
    parallel_steps = [step.child_id for step in steps if step.kind == StepKind.PARALLEL and step.child_id is not None]
    condition = Q(task=task)
    if not outline.has_all:
        running = task.worker.step_of(task.pk) if task.worker is not None else None
        current = [(task.error or {}).get("step") or "", running.key if running is not None else ""]
        condition &= Q(step_key__in=[*(step.key for step in steps), *current, ""])
    if parallel_steps:
        condition |= Q(task__in=parallel_steps)
    message = Left("error_message", MESSAGE_LENGTH, output_field=CharField())
    attempts = Attempt.objects.filter(condition).select_related("worker").annotate(message=message)
    newest = attempts.defer("error_message", "traceback", "logs").order_by(NEWEST_FIRST)[:MAX_ATTEMPTS]
    return list(reversed(newest))


def reports_of(task: Task, steps: Sequence[Step]) -> dict[UUID, StepReport]:
    """Read the live reports of running steps, by task; no query when none is running."""
    parallel_steps = [step.child for step in steps if step.kind == StepKind.PARALLEL and step.child is not None]
    running = {each.pk: each for each in [task, *parallel_steps] if each.status == TaskStatus.RUNNING}
    reports = StepReport.objects.filter(task_id__in=list(running)) if running else []
    return {
        report.task_id: report
        for report in reports
        # A report of an earlier lease is about an earlier attempt.
        if (running[report.task_id].worker_id, running[report.task_id].lease) == (report.worker_id, report.lease)
    }


def details_of(attempts: Sequence[Attempt]) -> dict[int, dict[str, Any]]:
    keys = [attempt.pk for attempt in attempts[-MAX_DETAILED_ATTEMPTS:]]
    details = Attempt.objects.filter(pk__in=keys).values("pk", "traceback", "logs")
    return {row["pk"]: dict(row) for row in details} if keys else {}
