"""Control: what people ask for. Each verb is a compare-and-swap; the loser learns what the task is now."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from taskqueue.engine.intake import Options, Origin, enqueue
from taskqueue.engine.queries import find
from taskqueue.engine.wakeups import ring_on_commit
from taskqueue.errors import NotCancellable, NotRetryable, TaskNotFound, UnknownStep
from taskqueue.models import Step, Task
from taskqueue.models.task import queue_place
from taskqueue.states import ENDED, StepStatus, TaskStatus, sources_of

if TYPE_CHECKING:
    from django.db.models import QuerySet

RETRYABLE = (TaskStatus.FAILED, TaskStatus.CANCELLED)


def retry(task_id: UUID, *, from_step: str | None = None) -> Task:
    """Queue an ended task again.

    Args:
        task_id: the task.
        from_step: forget the recorded result of the step with this key and of all that were recorded after it. Without
            it every finished step is kept, and only failed and cancelled tasks can be retried.

    Raises:
        TaskNotFound, UnknownStep
        NotRetryable: it has not ended, or it succeeded and no step was named.
    """
    with transaction.atomic():
        task = locked(task_id)
        allowed = ENDED if from_step is not None else RETRYABLE
        if task.status not in allowed:
            raise NotRetryable(refusal(task))
        forgotten(task, from_step).delete()
        Task.objects.filter(pk=task.pk).update(
            status=TaskStatus.QUEUED,
            due_at=Now(),
            sort_at=queue_place(Now(), F("priority")),
            retried_at=Now(),
            finished_at=None,
            # It stands before its pipeline's gate again, with whatever time it has for a start.
            admitted_at=None,
            finish_by=None,
            cancel_reason="",
            kill_at=None,
            result=None,
            error=None,
            code_ended="",
            drift=None,
            failures=0,
            progress=None,
            progress_note="",
        )
        ring_on_commit()
    return find(task_id)


def refusal(task: Task) -> str:
    """Why a task cannot be retried, and what can be done instead."""
    if task.status == TaskStatus.SUCCEEDED:
        return "The task has succeeded. Name a step to retry it from, or rerun it as a new task."
    return f"The task is {task.status}; only an ended task can be retried. Cancel it first, or wait for its end."


def forgotten(task: Task, from_step: str | None) -> QuerySet[Step]:
    """The recorded steps that a retry forgets; their failed attempts stay as history."""
    steps = Step.objects.filter(task=task)
    if from_step is None:
        return steps.exclude(status=StepStatus.SUCCEEDED)
    first = steps.filter(key=from_step).first()
    if first is None:
        known = ", ".join(steps.order_by("pk").values_list("key", flat=True)) or "none"
        raise UnknownStep(f"The task has recorded no step {from_step!r}. Recorded: {known}.")
    return steps.filter(pk__gte=first.pk) | steps.exclude(status=StepStatus.SUCCEEDED)


def cancel(task_id: UUID) -> Task:
    """End a task that has not ended. A worker in the middle of a step finds its lease gone at the next checkpoint.

    Raises:
        TaskNotFound
        NotCancellable: it has ended.
    """
    won = Task.objects.filter(pk=task_id, status__in=sources_of(TaskStatus.CANCELLED)).update(
        status=TaskStatus.CANCELLED, finished_at=Now(), lease=F("lease") + 1
    )
    task = find(task_id)
    if not won:
        raise NotCancellable(f"The task is {task.status}; it has ended, so there is nothing to cancel.")
    return task


def rerun(task_id: UUID) -> Task:
    """Make a new task of the same pipeline from the same payload, priority and labels, without the key.

    Raises:
        TaskNotFound, UnknownPipeline
        InvalidPayload: the pipeline has changed since, and the payload no longer fits.
    """
    task = find(task_id)
    options = Options(priority=task.priority, labels=task.labels)
    return enqueue(task.pipeline_id, task.payload, options=options, origin=Origin(rerun_of=task.pk))


def locked(task_id: UUID) -> Task:
    """The task, held until the transaction ends."""
    task = Task.objects.select_for_update(no_key=True).filter(pk=task_id).first()
    if task is None:
        raise TaskNotFound(task_id)
    return task
