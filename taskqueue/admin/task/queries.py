"""What a task's page reads of its steps and tries: a fixed number of queries, and a bounded amount by each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Case, CharField, F, Func, IntegerField, JSONField, Q, TextField, Value, When
from django.db.models.functions import Cast, Left

from taskqueue.admin.shared import formats
from taskqueue.models import Attempt, Step, StepReport, Task
from taskqueue.states import StepKind, StepStatus, TaskStatus

if TYPE_CHECKING:
    from uuid import UUID

SHOWN_AT_ONCE = 200
LAST_SHOWN = 50
MOST_SHOWN = 1_000
MOST_COUNTED = 10_000
"""Steps of a task of which the page knows at all; the newest."""
TRIES_SHOWN = 1_000
TRIES_DETAILED = 40
"""Tries whose traceback and log the page holds; the newest."""
PAGE_BYTES = 1024 * 1024
"""Of inputs and outputs together."""
MESSAGE_LENGTH = 4_000
NEWEST_FIRST = (F("pk") + 0).desc()
"""Not by the key's own index, which with a limit may seem the shorter way and lead through the whole table."""


@dataclass(frozen=True)
class Outline:
    """All recorded steps of a task in their order, without what they hold.

    Attributes:
        steps: row and status of each.
        shown: the rows that the page shows.
    """

    steps: list[tuple[int, str]]
    shown: list[int]

    @property
    def has_all(self) -> bool:
        """Whether all are shown."""
        return len(self.shown) == len(self.steps)

    @property
    def kept_before(self) -> dict[int, int]:
        """How many steps before each have succeeded."""
        counts, done = {}, 0
        for row, status in self.steps:
            counts[row] = done
            done += status == StepStatus.SUCCEEDED
        return counts


def outline_of(task: Task, *, show_all: bool) -> Outline:
    """Read the outline, and choose what is shown of it."""
    rows = Step.objects.filter(task=task).order_by(NEWEST_FIRST).values_list("pk", "status")[:MOST_COUNTED]
    steps = list(reversed(rows))
    return Outline(steps, chosen(steps, show_all=show_all))


def chosen(steps: Sequence[tuple[int, str]], *, show_all: bool) -> list[int]:
    """All steps of a task that has few; else those that did not succeed and the last ones, or what a page bears."""
    rows = [row for row, _status in steps]
    if len(rows) <= SHOWN_AT_ONCE:
        return rows
    if show_all:
        return rows[-MOST_SHOWN:]
    open_ones = [row for row, status in steps if status != StepStatus.SUCCEEDED]
    return sorted({*open_ones[-(SHOWN_AT_ONCE - LAST_SHOWN) :], *rows[-LAST_SHOWN:]})


def text_of(column: str) -> Cast:
    """A JSON column as text."""
    return Cast(column, TextField())


def beginning_of(column: str, length: int) -> Left:
    """The beginning of a JSON column's text."""
    return Left(text_of(column), length, output_field=CharField())


def size_of(column: str) -> Func:
    """How many bytes a JSON column's text has."""
    return Func(text_of(column), function="octet_length", output_field=IntegerField())


def steps_of(rows: Sequence[int]) -> list[Step]:
    """These steps, with the beginnings of their inputs and outputs; the more steps, the less of each."""
    share = max(1024, min(formats.SHOWN_BYTES, PAGE_BYTES // max(len(rows), 1)))
    steps = (
        Step.objects.filter(pk__in=rows)
        .select_related("child", "child__worker")
        .defer("input", "output", "logs", "child__payload", "child__result")
        .annotate(
            input_text=beginning_of("input", share),
            input_size=size_of("input"),
            output_text=beginning_of("output", share),
            output_size=size_of("output"),
            log_size=size_of("logs"),
            log=Case(
                When(log_size__lte=share, then="logs"), default=Value(None, JSONField()), output_field=JSONField()
            ),
        )
    )
    return list(steps.order_by("pk"))


def tries_of(task: Task, outline: Outline, steps: Sequence[Step]) -> list[Attempt]:
    """The failed tries of a task and of the parallel steps that are under way for it, in their order.

    When not all steps are shown, only those of the shown ones, of the body, and of the step that it failed or is in.
    """
    parallel_steps = [step.child_id for step in steps if step.kind == StepKind.PARALLEL and step.child_id is not None]
    whose = Q(task=task)
    if not outline.has_all:
        present = [(task.error or {}).get("step") or "", task.worker.step if task.worker is not None else ""]
        whose &= Q(step_key__in=[*(step.key for step in steps), *present, ""])
    if parallel_steps:
        whose |= Q(task__in=parallel_steps)
    message = Left("error_message", MESSAGE_LENGTH, output_field=CharField())
    tries = Attempt.objects.filter(whose).select_related("worker").annotate(message=message)
    newest = tries.defer("error_message", "traceback", "logs").order_by(NEWEST_FIRST)[:TRIES_SHOWN]
    return list(reversed(newest))


def reports_of(task: Task, steps: Sequence[Step]) -> dict[UUID, StepReport]:
    """What the steps that run now have said so far, by task; no query when none runs."""
    parallel_steps = [step.child for step in steps if step.kind == StepKind.PARALLEL and step.child is not None]
    running = {each.pk: each for each in [task, *parallel_steps] if each.status == TaskStatus.RUNNING}
    reports = StepReport.objects.filter(task_id__in=list(running)) if running else []
    return {
        report.task_id: report
        for report in reports
        # One that is of an earlier lease says nothing about this attempt.
        if (running[report.task_id].worker_id, running[report.task_id].lease) == (report.worker_id, report.lease)
    }


def details_of(tries: Sequence[Attempt]) -> dict[int, dict[str, Any]]:
    """Traceback and log of the newest tries."""
    rows = [attempt.pk for attempt in tries[-TRIES_DETAILED:]]
    details = Attempt.objects.filter(pk__in=rows).values("pk", "traceback", "logs")
    return {each["pk"]: dict(each) for each in details} if rows else {}
