"""The read side: what the API and the admin show, each with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, F, OuterRef, Prefetch, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Now

from taskqueue.engine.queries import skips
from taskqueue.engine.queries.why import explained_tasks, pending_of, waiting_for
from taskqueue.errors import TaskNotFound
from taskqueue.models import Attempt, Event, Pipeline, PipelineStep, RateLimitBucket, Step, StepSlot, Task, Wait
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Where a task stands at this moment: what `GET /api/tasks/{id}/status` answers."""

    id: UUID
    pipeline: str
    status: str
    current_step: str | None
    steps_done: int
    steps_known: int
    progress: float | None
    progress_note: str
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_run_at: datetime | None
    waiting_for: str | None
    error: dict[str, Any] | None


def find(task_id: UUID) -> Task:
    """A task with its worker.

    Raises:
        TaskNotFound
    """
    task = Task.objects.select_related("worker").filter(pk=task_id, parallel_step="").first()
    if task is None:
        raise TaskNotFound(task_id)
    return task


def listing() -> QuerySet[Task]:
    """Tasks newest first, without what only a task's own page shows, with counts of their steps."""
    return with_counts(Task.objects.filter(parallel_step="").defer("payload", "result", "drift").order_by("-id"))


def with_counts(tasks: QuerySet[Task]) -> QuerySet[Task]:
    """Tasks with `steps_done`, `steps_known` and `tries` (failed attempts); counted for the rows of the page alone."""
    done = Step.objects.filter(task=OuterRef("pk"), status=StepStatus.SUCCEEDED).order_by()
    known = PipelineStep.objects.filter(pipeline=OuterRef("pipeline_id")).order_by()
    tries = Attempt.objects.filter(task=OuterRef("pk")).order_by()
    return tasks.annotate(
        steps_done=count_of(done, "task"), steps_known=count_of(known, "pipeline"), tries=count_of(tries, "task")
    )


def with_effects(events: QuerySet[Event]) -> QuerySet[Event]:
    """Events with `tasks_started` and `waits_resolved`; counted for the rows of the page alone."""
    started = Task.objects.filter(event=OuterRef("pk")).order_by()
    resolved = Wait.objects.filter(resolved_by=OuterRef("pk")).order_by()
    return events.annotate(tasks_started=count_of(started, "event"), waits_resolved=count_of(resolved, "resolved_by"))


def count_of(rows: QuerySet[Any], by: str) -> Coalesce:
    """The number of rows of a correlated query."""
    return Coalesce(Subquery(rows.values(by).annotate(number=Count("pk")).values("number")), 0)


def status_of(task_id: UUID) -> Snapshot:
    """Where a task stands; two queries, one more for what it waits for.

    Raises:
        TaskNotFound
    """
    task = with_counts(explained_tasks()).filter(pk=task_id, parallel_step="").first()
    if task is None:
        raise TaskNotFound(task_id)
    pending = [] if task.status in ENDED else pending_of(task)
    step, attempt = present_step(task, pending)
    return Snapshot(
        id=task.pk,
        pipeline=task.pipeline_id,
        status=task.status,
        current_step=step or None,
        steps_done=task.steps_done,  # type: ignore[attr-defined]  # annotated
        steps_known=task.steps_known,  # type: ignore[attr-defined]  # annotated
        progress=task.progress,
        progress_note=task.progress_note,
        attempt=attempt,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        next_run_at=next_run_of(task),
        waiting_for=waiting_for(task, pending),
        error=task.error,
    )


def next_run_of(task: Task) -> datetime | None:
    """When a task may start or go on; None while it runs and once it has ended."""
    return None if task.status in ENDED or task.status == TaskStatus.RUNNING else task.due_at


def code_changed(task: Task) -> bool:
    """Whether a task has ended on other code than it began on."""
    return bool(task.code_began and task.code_ended and task.code_began != task.code_ended)


def is_to_be_called(step: Step) -> bool:
    """Whether a pending step is one that a worker calls: it failed before, or its rate gave it a later time."""
    return step.status == StepStatus.RETRYING or step.kind == StepKind.STEP


def present_step(task: Task, pending: Sequence[Step]) -> tuple[str, int]:
    """The key of the step that the task is in or will try again (empty: the body), and which try of it that is."""
    if task.status in ENDED:
        return "", task.failures + 1
    failing = next(filter(is_to_be_called, pending), None)
    if task.status == TaskStatus.RUNNING and task.worker is not None and task.worker.task_id == task.pk:
        step = task.worker.step
        return step, failing.failures + 1 if failing is not None and failing.key == step else 1
    return (failing.key, failing.failures + 1) if failing is not None else ("", task.failures + 1)


def whole(task_id: UUID) -> Task:
    """A task with its `recorded_steps`, each with its `failed_attempts`; those of no such step are `other_attempts`.

    Five queries, with the events for which it waits or waited and the latest requests for which it stood in.

    Raises:
        TaskNotFound
    """
    task = find(task_id)
    task.latest_skips = skips.ended_in(task)  # type: ignore[attr-defined]  # attached for those who show it
    task.known_waits = list(task.waits.order_by("pk"))  # type: ignore[attr-defined]  # the same
    steps = {step.key: step for step in steps_of(task)}
    attempts = attempts_of(task)
    for step in steps.values():
        step.failed_attempts = [  # type: ignore[attr-defined]  # attached for those who show it
            attempt for attempt in attempts if attempt.step_key == step.key
        ]
    task.recorded_steps = list(steps.values())  # type: ignore[attr-defined]  # the same
    task.other_attempts = [  # type: ignore[attr-defined]  # the same
        attempt for attempt in attempts if attempt.step_key not in steps
    ]
    return task


def pipelines() -> QuerySet[Pipeline]:
    """Every pipeline by name, with its known steps in the order in which its body names them; two queries."""
    steps = PipelineStep.objects.order_by("position", "pk")
    return Pipeline.objects.prefetch_related(Prefetch("known_steps", steps)).order_by("name")


def steps_of(task: Task) -> list[Step]:
    """A task's recorded steps in the order in which they were first recorded."""
    return list(Step.objects.filter(task=task).order_by("pk"))


def attempts_of(task: Task) -> list[Attempt]:
    """A task's failed tries in order of time."""
    return list(Attempt.objects.filter(task=task).select_related("worker").order_by("pk"))


def pipeline_of(task_id: UUID) -> str:
    """The name of a task's pipeline; one query on its key.

    Raises:
        TaskNotFound
    """
    name = Task.objects.filter(pk=task_id, parallel_step="").values_list("pipeline_id", flat=True).first()
    if name is None:
        raise TaskNotFound(task_id)
    return name


def asker_of(parallel_step: UUID) -> UUID | None:
    """The task whose step a parallel step runs; None when it is no parallel step."""
    return Task.objects.filter(pk=parallel_step).exclude(parallel_step="").values_list("parent", flat=True).first()


def has_ended(task_id: UUID) -> bool:
    """Whether a task holds still; one query on its key.

    Raises:
        TaskNotFound
    """
    status = Task.objects.filter(pk=task_id, parallel_step="").values_list("status", flat=True).first()
    if status is None:
        raise TaskNotFound(task_id)
    return status in ENDED


def uses_of_rates() -> list[RateLimitBucket]:
    """What each rate without a key has let through, and whether it `is_held` now; one query."""
    uses = RateLimitBucket.objects.filter(rate__key="", key="").order_by("rate")
    return list(uses.annotate(is_held=Coalesce(Q(blocked_until__gt=Now()), Value(value=False))))


@dataclass(frozen=True)
class Places:
    """How many places of a pipeline are held."""

    tasks: int
    steps: int
    most_used: tuple[tuple[str, int], ...]
    """The keys with the most tasks, and how many."""


def places_of(pipeline: str) -> Places:
    """How many places of a pipeline are held now."""
    held = Task.objects.filter(slot_pipeline=pipeline)
    steps = StepSlot.objects.filter(pipeline=pipeline, task__status=TaskStatus.RUNNING, task__lease=F("lease"))
    keys = (
        held.exclude(concurrency_key="")
        .values_list("concurrency_key")
        .annotate(number=Count("pk"))
        .order_by("-number", "concurrency_key")
    )
    return Places(held.count(), steps.count(), tuple(keys[:5]))
