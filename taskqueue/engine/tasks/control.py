"""What operators do to tasks and pipelines: retry, run now, cancel, rerun, pause, resume.

Each action and its audit entry are one transaction. It is a compare-and-swap: of two concurrent callers the second one
gets an error that says what the task is now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.enqueue.deduplicate import singleton_check
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options, Origin
from taskqueue.engine.queries.tasks import find
from taskqueue.engine.queries.why import why
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.waits import reopen_waits
from taskqueue.engine.sql.history import ends
from taskqueue.engine.tasks.children import cancel_tree
from taskqueue.errors import (
    AlreadyPaused,
    NotCancellable,
    NotDelayed,
    NotPaused,
    NotRetryable,
    TaskNotFound,
    UnknownPipeline,
    UnknownStep,
)
from taskqueue.json_values import codec
from taskqueue.models import Pipeline, Step, Task
from taskqueue.models.task import queue_position
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

UNCHANGED: Final = object()
"""The default payload of a rerun: the task's own."""
RETRYABLE = (TaskStatus.FAILED, TaskStatus.CANCELLED)


def retry(task_id: UUID, *, from_step: str | None = None, actor: Actor = SYSTEM) -> Task:
    """Queue a finished task again.

    Args:
        task_id: the task.
        from_step: the key of a step whose recorded result is discarded, with those of all later steps. Without it
            every succeeded step is kept, and only failed and cancelled tasks can be retried.
        actor: named in the audit entry.

    Raises:
        TaskNotFound, UnknownStep
        NotRetryable: it has not ended, or it succeeded and no step was named, or another task of its singleton has not
            ended.
    """
    with singleton_check(), transaction.atomic():
        task = lock(task_id)
        if task.status not in (ENDED if from_step is not None else RETRYABLE):
            raise NotRetryable(retry_refusal(task))
        steps = discarded_steps(task, from_step)
        sql.fetch(ends.RECORD_REOPENED, {"task": task.pk})
        reopen_waits(task.pk, steps.values("key"))
        steps.delete()
        Task.objects.filter(pk=task.pk).update(**requeued_values(task))
        notify_on_commit()
        what = f"Retried from step {from_step}" if from_step is not None else "Retried"
        actor.record(task, f"{what}; it was {task.status}.")
    return find(task_id)


def requeued_values(task: Task) -> dict[str, Any]:
    return {
        "status": TaskStatus.QUEUED,
        **due_now(),
        "retried_at": Now(),
        "finished_at": None,
        # It needs a slot again, also when it shared its parent's: its parent no longer waits for it.
        "slot_acquired_at": None,
        "shares_slot": False,
        "step_queue": "",  # it begins in its pipeline's queue
        "start_by": None,
        "finish_by": None,
        "notify_completion": needs_completion(task),
        "cancel_reason": "",
        "result": None,
        "error": None,
        "code_ended": "",
        "drift": None,
        "failures": 0,
        "progress": None,
        "progress_note": "",
    }


def due_now() -> dict[str, Any]:
    return {"due_at": Now(), "sort_at": queue_position(Now(), F("priority"))}


def needs_completion(task: Task) -> bool:
    """Whether the end of this task notifies a parent, runs a handler or emits an event."""
    if task.parent_id is not None:
        return True
    definition = registry.by_name().get(task.pipeline_id)
    return definition is not None and definition.has_listeners(registry.mentioned)


def retry_refusal(task: Task) -> str:
    if task.status == TaskStatus.SUCCEEDED:
        return "The task has succeeded. Name a step to retry it from, or rerun it as a new task."
    return f"The task is {task.status}; only an ended task can be retried. Cancel it first, or wait for its end."


def discarded_steps(task: Task, from_step: str | None) -> QuerySet[Step]:
    """The recorded steps that a retry discards; their failed attempts stay as history.

    Raises:
        UnknownStep
    """
    steps = Step.objects.filter(task=task)
    if from_step is None:
        return steps.exclude(status=StepStatus.SUCCEEDED)
    first = steps.filter(key=from_step).first()
    if first is None:
        recorded = ", ".join(steps.order_by("pk").values_list("key", flat=True)) or "none"
        raise UnknownStep(f"The task has recorded no step {from_step!r}. Recorded: {recorded}.")
    return steps.filter(pk__gte=first.pk) | steps.exclude(status=StepStatus.SUCCEEDED)


def run_now(task_id: UUID, *, actor: Actor = SYSTEM) -> Task:
    """Let a task that waits for a time continue now: its start, its next attempt, or the end of its sleep is due.

    Limits, rates and pauses hold as for every due task. No attempt is added and no retry used up. The dispatcher and a
    second caller wait for the row, and find the task queued.

    Raises:
        TaskNotFound
        NotDelayed: it has ended, is due already, or does not wait for a time.
    """
    with transaction.atomic():
        task = lock(task_id)
        if not (task.status in (TaskStatus.SCHEDULED, TaskStatus.RETRYING) or end_inner_delays(task)):
            raise NotDelayed(run_now_refusal(task))
        if task.status != TaskStatus.WAITING or open_sleeps(task).exists():
            queue_now(Task.objects.filter(pk=task.pk))
        notify_on_commit()
        actor.record(task, f"Run now; it was {task.status}.")
    return find(task_id)


def end_inner_delays(task: Task) -> bool:
    """End the sleeps of a waiting task and the retry delays of its parallel steps; whether there were any."""
    if task.status != TaskStatus.WAITING:
        return False
    ended = open_sleeps(task).update(until=Now())
    queued = queue_now(Task.objects.filter(parent=task, status=TaskStatus.RETRYING).exclude(parallel_step=""))
    return bool(ended or queued)


def queue_now(tasks: QuerySet[Task]) -> int:
    return tasks.update(status=TaskStatus.QUEUED, blocked_on="", **due_now())


def open_sleeps(task: Task) -> QuerySet[Step]:
    return Step.objects.filter(task=task, kind=StepKind.SLEEP, status=StepStatus.WAITING)


def run_now_refusal(task: Task) -> str:
    if task.status == TaskStatus.SUCCEEDED:
        return "The task has succeeded. Rerun it as a new task."
    if task.has_ended:
        return f"The task is {task.status}: it has ended. Retry it instead."
    if task.status == TaskStatus.WAITING:
        return f"The task does not wait for a time. {' '.join(r.sentence for r in why(task.pk).reasons)}"
    return f"The task is {task.status}{'' if task.status == TaskStatus.RUNNING else ': it is due already'}."


def cancel(task_id: UUID, *, reason: str = "", actor: Actor = SYSTEM) -> Task:
    """Cancel a task that has not ended, with its parallel steps and children.

    A worker that executes it finds its lease lost at the next checkpoint.

    Raises:
        TaskNotFound
        NotCancellable: it has ended.
    """
    with transaction.atomic():
        before = Task.objects.filter(pk=task_id, parallel_step="").values_list("status", flat=True).first()
        cancelled = cancel_tree([task_id], reason=codec.printable(reason)) if before is not None else []
        task = find(task_id)
        if not cancelled:
            raise NotCancellable(f"The task is {task.status}; it has ended, so there is nothing to cancel.")
        notify_on_commit()  # it may have had a slot
        because = f" Reason: {task.cancel_reason}" if task.cancel_reason else ""
        actor.record(task, f"Cancelled; it was {before}.{because}")
    return task


def rerun(task_id: UUID, *, payload: Any = UNCHANGED, actor: Actor = SYSTEM) -> Task:
    """Submit a new task of this task's pipeline with its payload, priority and labels, but without its key.

    Args:
        task_id: the task.
        payload: a payload that the pipeline's model accepts, in place of the task's own.
        actor: named in the audit entries of both tasks.

    Raises:
        TaskNotFound, UnknownPipeline
        InvalidPayload, NotSerializable, TooLarge: the payload does not fit, perhaps since the pipeline has changed.
    """
    with transaction.atomic():
        task = lock(task_id)  # else it may be pruned before the new task references it
        options = Options(priority=task.priority, labels=task.labels, subject=task.subject)
        how = "" if payload is UNCHANGED else " with an edited payload"
        payload = task.payload if payload is UNCHANGED else payload
        copy = enqueue(task.pipeline_id, payload, options=options, origin=Origin(rerun_of=task.pk))
        actor.record(task, f"Reran{how} as {copy.pk}.")
        actor.record(copy, f"Submitted as a rerun of {task_id}{how}.", added=True)
    return copy


def lock(task_id: UUID) -> Task:
    """The task, locked until the transaction ends."""
    task = Task.objects.select_for_update(no_key=True).filter(pk=task_id, parallel_step="").first()
    if task is None:
        raise TaskNotFound(task_id)
    return task


def pause_pipeline(name: str, *, reason: str, actor: Actor) -> Pipeline:
    """Pause a pipeline: its tasks do not start, and running tasks stop after their current step.

    Args:
        name: the pipeline.
        reason: shown with its waiting tasks.
        actor: shown as the user who paused it.

    Raises:
        UnknownPipeline
        AlreadyPaused: the message names the user and the reason.
    """
    values = {
        "paused_at": Now(),
        "paused_by": codec.printable(actor.name)[:150],
        "pause_reason": codec.printable(reason)[:300],
    }
    with transaction.atomic():
        paused = Pipeline.objects.filter(pk=name, paused_at=None).update(**values)
        pipeline = find_pipeline(name)
        if not paused:
            raise AlreadyPaused(f"Pipeline {name!r} is paused already by {pipeline.paused_by}: {pipeline.pause_reason}")
        actor.record(pipeline, f"Paused: {reason}")
    return pipeline


def resume_pipeline(name: str, *, actor: Actor = SYSTEM) -> Pipeline:
    """Resume a paused pipeline.

    Raises:
        UnknownPipeline, NotPaused
    """
    with transaction.atomic():
        resumed = Pipeline.objects.filter(pk=name, paused_at__isnull=False).update(
            paused_at=None, paused_by="", pause_reason=""
        )
        pipeline = find_pipeline(name)
        if not resumed:
            raise NotPaused(f"Pipeline {name!r} is not paused.")
        notify_on_commit()
        actor.record(pipeline, "Resumed.")
    return pipeline


def find_pipeline(name: str) -> Pipeline:
    pipeline = Pipeline.objects.filter(pk=name).first()
    if pipeline is None:
        raise UnknownPipeline(f"No pipeline is called {name!r}.")
    return pipeline
