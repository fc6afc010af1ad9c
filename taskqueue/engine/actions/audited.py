"""Deeds: what a person or a program asks for, and who it was, in one transaction. The same from the API and the admin.

The record is Django's own history (`LogEntry`), beside the changes that were made in the admin. A caller without a
user, as in DEBUG on one's own machine, leaves no entry: an entry needs somebody to name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db import transaction
from django.db.models import Model

from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.actions import drain as drain_actions
from taskqueue.engine.actions import limits
from taskqueue.engine.enqueue import bulk
from taskqueue.engine.enqueue.bulk import Request
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.events import send as event_sending
from taskqueue.engine.maintenance import bulk_operations, cron
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.runtime.locks import done_in_spite_of_deadlocks
from taskqueue.engine.tasks import control
from taskqueue.models import BulkOperation, Event, Pipeline, RateLimit, Schedule, Task, Worker
from taskqueue.states import BulkOperationVerb


@dataclass(frozen=True)
class Actor:
    """Who does it.

    Attributes:
        user: the primary key; None for a caller without one, of whom nothing is recorded.
        name: for those who ask who it was.
        token: the name of the token with which the caller came; empty for none.
    """

    user: Any
    name: str = ""
    token: str = ""

    def record(self, row: Model, message: str, *, flag: int = CHANGE) -> None:
        """Write down what was done to a row."""
        if self.user is not None:
            by = f" By token {self.token}." if self.token else ""
            LogEntry.objects.log_actions(self.user, [row], flag, f"{message}{by}", single_object=True)


def submit(pipeline: str, payload: object, *, options: Options, actor: Actor, said: str = "") -> Task:
    """Make a task. Only a forced one, or one of which something is said, is a deed worth a record.

    Raises:
        UnknownPipeline, InvalidPayload, NotSerializable, TooLarge
    """
    if options.force:
        said = f"{said} {forced(options)}".strip()
    if not said:
        return enqueue(pipeline, payload, options=options)
    with transaction.atomic():
        task = enqueue(pipeline, payload, options=options)
        if not task.duplicate:
            actor.record(task, said, flag=ADDITION)
    return task


def submit_many(requests: Sequence[Request], *, actor: Actor) -> list[Task]:
    """Make a task of each request in one transaction, or none of them; forced ones are recorded.

    Returns:
        The tasks in the order of the requests, each as `submit` returns it.

    Raises:
        BatchRefused: with the error of each request that cannot be met.
    """
    prepared = bulk.prepare(requests)

    def make_all() -> list[Task]:
        with transaction.atomic():
            tasks = bulk.make_all(prepared)
            for request, task in zip(requests, tasks, strict=True):
                if request.options.force and not task.duplicate:
                    actor.record(task, forced(request.options), flag=ADDITION)
        return tasks

    return done_in_spite_of_deadlocks(make_all)


def forced(options: Options) -> str:
    """What is recorded of a forced task."""
    return f"Forced, with key {options.key}." if options.key else "Forced."


def run_now(schedule: Schedule, *, actor: Actor) -> Task:
    """Make a task as a schedule's next tick would.

    Raises:
        UnknownPipeline, InvalidPayload, TooLarge
    """
    with transaction.atomic():
        task = cron.run_now(schedule.pipeline_id)
        if not task.duplicate:
            actor.record(schedule, f"Ran now as {task.pk}.")
            actor.record(task, "Made by hand from its schedule.", flag=ADDITION)
    return task


def retry(task_id: UUID, *, actor: Actor, from_step: str | None = None) -> Task:
    """Queue an ended task again.

    Raises:
        TaskNotFound, UnknownStep, NotRetryable
    """
    with transaction.atomic():
        before = task_queries.find(task_id).status
        task = control.retry(task_id, from_step=from_step)
        what = f"Retried from step {from_step}" if from_step is not None else "Retried"
        actor.record(task, f"{what}; it was {before}.")
    return task


def run_task_now(task_id: UUID, *, actor: Actor) -> Task:
    """Let a scheduled, retrying or sleeping task go on at once.

    Raises:
        TaskNotFound, NotDelayed
    """
    with transaction.atomic():
        before = task_queries.find(task_id).status
        task = control.run_now(task_id)
        actor.record(task, f"Run now; it was {before}.")
    return task


def cancel(task_id: UUID, *, actor: Actor, reason: str = "") -> Task:
    """End a task that has not ended.

    Raises:
        TaskNotFound, NotCancellable
    """
    with transaction.atomic():
        before = task_queries.find(task_id).status
        task = control.cancel(task_id, reason=reason)
        said = f" Reason: {task.cancel_reason}" if task.cancel_reason else ""
        actor.record(task, f"Cancelled; it was {before}.{said}")
    return task


def rerun(task_id: UUID, *, actor: Actor, payload: Any = control.SAME) -> Task:
    """Make a new task from an old one's payload, or from another one in its place; both are told of the other.

    Raises:
        TaskNotFound, UnknownPipeline, InvalidPayload, NotSerializable, TooLarge
    """
    with transaction.atomic():
        task = control.rerun(task_id, payload=payload)
        how = "" if payload is control.SAME else " with an edited payload"
        actor.record(task_queries.find(task_id), f"Reran{how} as {task.pk}.")
        actor.record(task, f"Made as a rerun of {task_id}{how}.", flag=ADDITION)
    return task


def pause(name: str, *, reason: str, actor: Actor) -> Pipeline:
    """Let no task of a pipeline start or go on.

    Raises:
        UnknownPipeline, AlreadyPaused
    """
    with transaction.atomic():
        pipeline = control.pause_pipeline(name, reason=reason, by=actor.name)
        actor.record(pipeline, f"Paused: {reason}")
    return pipeline


def resume(name: str, *, actor: Actor) -> Pipeline:
    """Let the tasks of a paused pipeline start and go on.

    Raises:
        UnknownPipeline, NotPaused
    """
    with transaction.atomic():
        pipeline = control.resume_pipeline(name)
        actor.record(pipeline, "Resumed.")
    return pipeline


def send(name: str, data: object, *, actor: Actor, rights: Rights, external_id: str = "", said: str = "Sent.") -> Event:
    """Send an event; it is routed when this has committed. One that was sent before leaves no second entry.

    It starts and cancels only tasks of pipelines that are not closed to its sender at this moment, whoever routes it.

    Raises:
        InvalidEvent, TooLarge, KeyReused
    """
    closed = {deed.value: rights.closed_by_name(deed) for deed in (Action.RUN, Action.CANCEL)}
    with transaction.atomic():
        event = event_sending.send(name, data, external_id=external_id, closed=closed)
        if not event.duplicate:
            actor.record(event, said, flag=ADDITION)
    return event


def drain(worker_id: int, *, actor: Actor) -> Worker:
    """Let a worker end its task and take no other one.

    Raises:
        WorkerNotFound, NotDrainable
    """
    with transaction.atomic():
        worker = drain_actions.drain_worker(worker_id)
        actor.record(worker, "Drained.")
    return worker


def undrain(worker_id: int, *, actor: Actor) -> Worker:
    """Let a draining worker take tasks again.

    Raises:
        WorkerNotFound, NotDrainable
    """
    with transaction.atomic():
        worker = drain_actions.resume_worker(worker_id)
        actor.record(worker, "Resumed.")
    return worker


def hold(rate: RateLimit, key: str, *, delay: timedelta, reason: str, length: str, actor: Actor) -> None:
    """Let nobody who needs a rate pass for so long; `length` says it in words.

    Raises:
        InvalidLimit
    """
    with transaction.atomic():
        limits.hold(rate.pk, key, delay=delay, reason=reason)
        actor.record(rate, f"Held{' ' + key if key else ''} for {length}: {reason}")


def lift(rate: RateLimit, key: str, *, actor: Actor) -> bool:
    """Let a rate's users pass again. False when it is not held."""
    with transaction.atomic():
        done = limits.release_hold(rate.pk, key)
        if done:
            actor.record(rate, f"Released the hold of {key}." if key else "Released the hold.")
    return done


def change_places(pipeline: Pipeline, values: dict[str, int | None], *, said: str, actor: Actor) -> None:
    """Change how many tasks and steps of a pipeline there may be at a time; what is said names the values.

    Raises:
        InvalidLimit
    """
    with transaction.atomic():
        limits.change_concurrency_limit(pipeline.pk, values)
        actor.record(pipeline, said)


def change_starts(pipeline: Pipeline, rate: str, values: dict[str, Any], *, said: str, actor: Actor) -> None:
    """Change the rate of a pipeline's starts; what is said names the values.

    Raises:
        InvalidLimit
    """
    with transaction.atomic():
        limits.change_rate_limit(rate, **values)
        actor.record(pipeline, said)


def operate(
    selection: TaskFilter, *, verb: BulkOperationVerb, query: str, said: Callable[[int], str], reason: str, actor: Actor
) -> BulkOperation:
    """Have a verb done to all tasks that are selected now; `said` says which, of an estimate of how many.

    Raises:
        UnfilteredOperation
    """
    with transaction.atomic():
        operation = bulk_operations.plan(
            selection, verb=verb, query=query, reason=reason, user=actor.user, by=actor.name
        )
        sentence = said(operation.estimate)
        actor.record(operation, f"{sentence} Reason: {reason}" if reason else sentence, flag=ADDITION)
    return operation


def abort(operation_id: UUID, *, actor: Actor) -> BulkOperation:
    """Do no further batch of an operation.

    Raises:
        BulkOperationEnded
    """
    with transaction.atomic():
        operation = bulk_operations.abort(operation_id, by=actor.name)
        tasks = "1 task" if operation.processed == 1 else f"{operation.processed:,} tasks"
        actor.record(operation, f"Aborted after {tasks}.")
    return operation
