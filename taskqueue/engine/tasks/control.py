"""Control: what people ask for. Each verb is a compare-and-swap; the loser learns what the task is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from taskqueue import codec
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.enqueue.deduplicate import one_of_singleton
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options, Origin
from taskqueue.engine.queries.tasks import find
from taskqueue.engine.queries.why import why
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.waits import begin_anew
from taskqueue.engine.sql import ends
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
from taskqueue.models import Pipeline, Step, Task
from taskqueue.models.task import queue_place
from taskqueue.states import ENDED, StepKind, StepStatus, TaskStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

SAME: Final = object()
"""Says that a rerun takes the payload of the task."""
RETRYABLE = (TaskStatus.FAILED, TaskStatus.CANCELLED)


def retry(task_id: UUID, *, from_step: str | None = None) -> Task:
    """Queue an ended task again.

    Args:
        task_id: the task.
        from_step: forget the recorded result of the step with this key and of all that were recorded after it. Without
            it every finished step is kept, and only failed and cancelled tasks can be retried.

    Raises:
        TaskNotFound, UnknownStep
        NotRetryable: it has not ended, or it succeeded and no step was named, or another task of its singleton is under
            way.
    """
    with one_of_singleton(), transaction.atomic():
        task = locked(task_id)
        allowed = ENDED if from_step is not None else RETRYABLE
        if task.status not in allowed:
            raise NotRetryable(refusal(task))
        steps = forgotten(task, from_step)
        sql.fetch(ends.REOPEN, {"task": task.pk})
        begin_anew(task.pk, steps.values("key"))
        steps.delete()
        Task.objects.filter(pk=task.pk).update(**afresh(task))
        notify_on_commit()
    return find(task_id)


def afresh(task: Task) -> dict[str, Any]:
    """What makes an ended task a queued one, with whatever was said of its former end taken back."""
    return {
        "status": TaskStatus.QUEUED,
        "due_at": Now(),
        "sort_at": queue_place(Now(), F("priority")),
        "retried_at": Now(),
        "finished_at": None,
        # It stands before its pipeline's gate again, with whatever time it has for a start.
        "slot_acquired_at": None,
        # Nobody waits for it any more: it needs a place of its own, or its limit would not hold.
        "shares_slot": False,
        "start_by": None,
        "finish_by": None,
        "notify_completion": has_to_be_told(task),
        "cancel_reason": "",
        "result": None,
        "error": None,
        "code_ended": "",
        "drift": None,
        "failures": 0,
        "progress": None,
        "progress_note": "",
    }


def has_to_be_told(task: Task) -> bool:
    """Whether somebody is to be told of the task's next end."""
    known = task.pipeline_id in registry.names()
    return task.parent_id is not None or (known and registry.get(task.pipeline_id).has_listeners(registry.mentions))


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


def run_now(task_id: UUID) -> Task:
    """Let a task that waits for a time go on at once: its start, its next attempt, or the end of its sleep is due now.

    Limits, rates and pauses hold as for every task that is due. No attempt is added and no retry used up. The
    dispatcher's own timer and a second caller wait for the row, and find the task queued.

    Raises:
        TaskNotFound
        NotDelayed: it has ended, is due already, or waits for something else than a time.
    """
    with transaction.atomic():
        task = locked(task_id)
        if not (task.status in (TaskStatus.SCHEDULED, TaskStatus.RETRYING) or end_delays_within(task)):
            raise NotDelayed(why_not_now(task))
        if task.status != TaskStatus.WAITING or sleeps_of(task).exists():
            Task.objects.filter(pk=task.pk).update(**DUE)
        notify_on_commit()
    return find(task_id)


DUE: Final[dict[str, Any]] = {
    "status": TaskStatus.QUEUED,
    "blocked_on": "",
    "due_at": Now(),
    "sort_at": queue_place(Now(), F("priority")),
}
"""What makes a delayed task a queued one."""


def sleeps_of(task: Task) -> QuerySet[Step]:
    """The sleeps that a task is in."""
    return Step.objects.filter(task=task, kind=StepKind.SLEEP, status=StepStatus.WAITING)


def end_delays_within(task: Task) -> bool:
    """Let the sleeps of a waiting task end now, and its parallel steps be tried again; whether there were any."""
    if task.status != TaskStatus.WAITING:
        return False
    ended = sleeps_of(task).update(until=Now())
    hastened = Task.objects.filter(parent=task, status=TaskStatus.RETRYING).exclude(parallel_step="").update(**DUE)
    return bool(ended or hastened)


def why_not_now(task: Task) -> str:
    """Why a task cannot be run now, and what can be done instead."""
    if task.status == TaskStatus.SUCCEEDED:
        return "The task has succeeded. Rerun it as a new task."
    if task.has_ended:
        return f"The task is {task.status}: it has ended. Retry it instead."
    if task.status == TaskStatus.WAITING:
        return f"The task waits for something else than a time. {' '.join(r.sentence for r in why(task.pk).reasons)}"
    return f"The task is {task.status}{'' if task.status == TaskStatus.RUNNING else ': it is due already'}."


def cancel(task_id: UUID, *, reason: str = "") -> Task:
    """End a task that has not ended, and its parallel steps and children.

    A worker in the middle of a step finds its lease gone at the next checkpoint.

    Raises:
        TaskNotFound
        NotCancellable: it has ended.
    """
    with transaction.atomic():
        mine = Task.objects.filter(pk=task_id, parallel_step="").exists()
        won = cancel_tree([task_id], reason=codec.printable(reason)) if mine else []
        if won:
            notify_on_commit()  # it may have held a place
    task = find(task_id)
    if not won:
        raise NotCancellable(f"The task is {task.status}; it has ended, so there is nothing to cancel.")
    return task


def pause_pipeline(name: str, *, reason: str, by: str) -> Pipeline:
    """Let no task of a pipeline start or go on. Those that run stop after the step that they are in.

    Args:
        name: the pipeline.
        reason: for those who ask why their tasks wait.
        by: who pauses it.

    Raises:
        UnknownPipeline
        AlreadyPaused: somebody was faster; the message says who and why.
    """
    values = {
        "paused_at": Now(),
        "paused_by": codec.printable(by)[:150],
        "pause_reason": codec.printable(reason)[:300],
    }
    won = Pipeline.objects.filter(pk=name, paused_at=None).update(**values)
    pipeline = pipeline_of(name)
    if not won:
        raise AlreadyPaused(f"Pipeline {name!r} is paused already by {pipeline.paused_by}: {pipeline.pause_reason}")
    return pipeline


def resume_pipeline(name: str) -> Pipeline:
    """Let the tasks of a paused pipeline start and go on.

    Raises:
        UnknownPipeline
        NotPaused
    """
    with transaction.atomic():
        won = Pipeline.objects.filter(pk=name, paused_at__isnull=False).update(
            paused_at=None, paused_by="", pause_reason=""
        )
        pipeline = pipeline_of(name)
        if not won:
            raise NotPaused(f"Pipeline {name!r} is not paused.")
        notify_on_commit()
    return pipeline


def pipeline_of(name: str) -> Pipeline:
    """A pipeline's row.

    Raises:
        UnknownPipeline
    """
    pipeline = Pipeline.objects.filter(pk=name).first()
    if pipeline is None:
        raise UnknownPipeline(f"No pipeline is called {name!r}.")
    return pipeline


def rerun(task_id: UUID, *, payload: Any = SAME) -> Task:
    """Make a new task of the same pipeline from the same payload, priority and labels, without the key.

    Args:
        task_id: the task.
        payload: what the pipeline's model accepts, in place of the task's own.

    Raises:
        TaskNotFound, UnknownPipeline
        InvalidPayload, NotSerializable, TooLarge: the payload does not fit, perhaps since the pipeline has changed.
    """
    with transaction.atomic():
        task = locked(task_id)  # or it may be pruned before the new one can point at it
        options = Options(priority=task.priority, labels=task.labels, subject=task.subject)
        payload = task.payload if payload is SAME else payload
        return enqueue(task.pipeline_id, payload, options=options, origin=Origin(rerun_of=task.pk))


def locked(task_id: UUID) -> Task:
    """The task, held until the transaction ends."""
    task = Task.objects.select_for_update(no_key=True).filter(pk=task_id, parallel_step="").first()
    if task is None:
        raise TaskNotFound(task_id)
    return task
