"""Deeds: what a person or a program asks for, and who it was, in one transaction. The same from the API and the admin.

The record is Django's own history (`LogEntry`), beside the changes that were made in the admin. A caller without a
user, as in DEBUG on one's own machine, leaves no entry: an entry needs somebody to name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.db import transaction
from django.db.models import Model

from taskqueue.engine import control, events, queries
from taskqueue.engine.intake import Options, enqueue
from taskqueue.models import Event, Pipeline, Task


@dataclass(frozen=True)
class Doer:
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


def submit(pipeline: str, payload: object, *, options: Options, doer: Doer) -> Task:
    """Make a task. Only a forced one is a deed worth a record: the others are what tasks are for.

    Raises:
        UnknownPipeline, InvalidPayload, Unstorable, TooLarge
    """
    if not options.force:
        return enqueue(pipeline, payload, options=options)
    with transaction.atomic():
        task = enqueue(pipeline, payload, options=options)
        doer.record(task, f"Forced, with key {options.key}." if options.key else "Forced.", flag=ADDITION)
    return task


def retry(task_id: UUID, *, doer: Doer, from_step: str | None = None) -> Task:
    """Queue an ended task again.

    Raises:
        TaskNotFound, UnknownStep, NotRetryable
    """
    with transaction.atomic():
        before = queries.find(task_id).status
        task = control.retry(task_id, from_step=from_step)
        what = f"Retried from step {from_step}" if from_step is not None else "Retried"
        doer.record(task, f"{what}; it was {before}.")
    return task


def cancel(task_id: UUID, *, doer: Doer, reason: str = "") -> Task:
    """End a task that has not ended.

    Raises:
        TaskNotFound, NotCancellable
    """
    with transaction.atomic():
        before = queries.find(task_id).status
        task = control.cancel(task_id, reason=reason)
        said = f" Reason: {task.cancel_reason}" if task.cancel_reason else ""
        doer.record(task, f"Cancelled; it was {before}.{said}")
    return task


def rerun(task_id: UUID, *, doer: Doer) -> Task:
    """Make a new task from an old one's payload; both are told of the other.

    Raises:
        TaskNotFound, UnknownPipeline, InvalidPayload
    """
    with transaction.atomic():
        task = control.rerun(task_id)
        doer.record(queries.find(task_id), f"Reran as {task.pk}.")
        doer.record(task, f"Made as a rerun of {task_id}.", flag=ADDITION)
    return task


def pause(name: str, *, reason: str, doer: Doer) -> Pipeline:
    """Let no task of a pipeline start or go on.

    Raises:
        UnknownPipeline, AlreadyPaused
    """
    with transaction.atomic():
        pipeline = control.pause_pipeline(name, reason=reason, by=doer.name)
        doer.record(pipeline, f"Paused: {reason}")
    return pipeline


def resume(name: str, *, doer: Doer) -> Pipeline:
    """Let the tasks of a paused pipeline start and go on.

    Raises:
        UnknownPipeline, NotPaused
    """
    with transaction.atomic():
        pipeline = control.resume_pipeline(name)
        doer.record(pipeline, "Resumed.")
    return pipeline


def send(name: str, data: object, *, doer: Doer, external_id: str = "") -> Event:
    """Send an event; it is routed when this has committed. One that was sent before leaves no second entry.

    Raises:
        InvalidEvent, TooLarge
    """
    with transaction.atomic():
        event = events.send(name, data, external_id=external_id)
        if not event.duplicate:
            doer.record(event, "Sent.", flag=ADDITION)
    return event
