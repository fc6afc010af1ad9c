"""Tasks and pipelines as the API and the admin show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, F, OuterRef, Prefetch, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Now

from taskqueue.errors import TaskNotFound
from taskqueue.models import Attempt, Event, Pipeline, PipelineStep, RateLimitBucket, Skip, Step, StepSlot, Task, Wait
from taskqueue.states import ENDED, StepStatus, TaskStatus

SKIPS_SHOWN = 20
"""A batch may have collected thousands of requests; the newest are shown."""


def next_run_of(task: Task) -> datetime | None:
    """The time at which a task is due; None while it runs and after its end."""
    return None if task.status in ENDED or task.status == TaskStatus.RUNNING else task.due_at


def find(task_id: UUID) -> Task:
    """A task with its worker.

    Raises:
        TaskNotFound
    """
    task = Task.objects.select_related("worker").filter(pk=task_id, parallel_step="").first()
    if task is None:
        raise TaskNotFound(task_id)
    return task


def with_details(task_id: UUID) -> Task:
    """A task with its `recorded_steps`, each with its `failed_attempts`; `other_attempts` belong to no recorded step.

    Also with its `event_waits` for events and its `latest_skips`. Five queries.

    Raises:
        TaskNotFound
    """
    task: Any = find(task_id)
    # Ordered by time, not by id: for the id the planner would choose the primary key, and read other tasks' skips.
    task.latest_skips = list(Skip.objects.filter(task=task).order_by("-created_at", "-pk")[:SKIPS_SHOWN])
    task.event_waits = list(task.waits.order_by("pk"))
    task.recorded_steps = steps_of(task)
    attempts = list(Attempt.objects.filter(task=task).select_related("worker").order_by("pk"))
    for step in task.recorded_steps:
        step.failed_attempts = [attempt for attempt in attempts if attempt.step_key == step.key]
    keys = {step.key for step in task.recorded_steps}
    task.other_attempts = [attempt for attempt in attempts if attempt.step_key not in keys]
    found: Task = task
    return found


def steps_of(task: Task) -> list[Step]:
    """A task's recorded steps in the order of recording."""
    return list(Step.objects.filter(task=task).order_by("pk"))


def listing() -> QuerySet[Task]:
    """Tasks, newest first, with step counts and without the large columns."""
    return with_counts(Task.objects.filter(parallel_step="").defer("payload", "result", "drift").order_by("-id"))


def with_counts(tasks: QuerySet[Task]) -> QuerySet[Task]:
    """Tasks with `steps_done`, `steps_known` and `failed_attempt_count`, counted only for the page's rows."""
    done = Step.objects.filter(task=OuterRef("pk"), status=StepStatus.SUCCEEDED).order_by()
    known = PipelineStep.objects.filter(pipeline=OuterRef("pipeline_id")).order_by()
    attempts = Attempt.objects.filter(task=OuterRef("pk")).order_by()
    return tasks.annotate(
        steps_done=count_of(done, "task"),
        steps_known=count_of(known, "pipeline"),
        failed_attempt_count=count_of(attempts, "task"),
    )


def with_effects(events: QuerySet[Event]) -> QuerySet[Event]:
    """Events with `tasks_started` and `waits_resolved`, counted only for the rows of the page."""
    started = Task.objects.filter(event=OuterRef("pk")).order_by()
    resolved = Wait.objects.filter(resolved_by=OuterRef("pk")).order_by()
    return events.annotate(tasks_started=count_of(started, "event"), waits_resolved=count_of(resolved, "resolved_by"))


def count_of(rows: QuerySet[Any], by: str) -> Coalesce:
    """A subquery that counts rows."""
    return Coalesce(Subquery(rows.values(by).annotate(number=Count("pk")).values("number")), 0)


def code_changed(task: Task) -> bool:
    """Whether a task ended on other code than it began on."""
    return bool(task.code_began and task.code_ended and task.code_began != task.code_ended)


def pipeline_of(task_id: UUID) -> str:
    """The name of a task's pipeline; one query.

    Raises:
        TaskNotFound
    """
    return column_of(task_id, "pipeline_id")


def has_ended(task_id: UUID) -> bool:
    """Whether a task has ended; one query.

    Raises:
        TaskNotFound
    """
    return column_of(task_id, "status") in ENDED


def column_of(task_id: UUID, column: str) -> str:
    value: str | None = Task.objects.filter(pk=task_id, parallel_step="").values_list(column, flat=True).first()
    if value is None:
        raise TaskNotFound(task_id)
    return value


def parent_of(parallel_step: UUID) -> UUID | None:
    """The task that a parallel step belongs to; None if the id is not a parallel step's."""
    return Task.objects.filter(pk=parallel_step).exclude(parallel_step="").values_list("parent", flat=True).first()


def pipelines() -> QuerySet[Pipeline]:
    """Every pipeline by name, with its known steps in the order of its body; two queries."""
    steps = PipelineStep.objects.order_by("position", "pk")
    return Pipeline.objects.prefetch_related(Prefetch("known_steps", steps)).order_by("name")


def skips_of(pipeline: Pipeline) -> list[Skip]:
    """A pipeline's latest requests that created no task, newest first."""
    return list(Skip.objects.filter(pipeline=pipeline).order_by("-pk")[:SKIPS_SHOWN])


def rate_limit_buckets() -> list[RateLimitBucket]:
    """The buckets of the rates without a key, with `is_blocked`; one query."""
    buckets = RateLimitBucket.objects.filter(rate__key="", key="").order_by("rate")
    return list(buckets.annotate(is_blocked=Coalesce(Q(blocked_until__gt=Now()), Value(value=False))))


@dataclass(frozen=True)
class SlotCounts:
    """The concurrency slots of a pipeline that are in use."""

    tasks: int
    steps: int
    busiest_keys: tuple[tuple[str, int], ...]
    """The concurrency keys with the most tasks, each with its number of tasks."""


def slots_of(pipeline: str) -> SlotCounts:
    """Count the concurrency slots that a pipeline's tasks and steps hold; three queries."""
    tasks = Task.objects.filter(slot_pipeline=pipeline)
    steps = StepSlot.objects.filter(pipeline=pipeline, task__status=TaskStatus.RUNNING, task__lease=F("lease"))
    keys = (
        tasks.exclude(concurrency_key="")
        .values_list("concurrency_key")
        .annotate(number=Count("pk"))
        .order_by("-number", "concurrency_key")
    )
    return SlotCounts(tasks.count(), steps.count(), tuple(keys[:5]))
