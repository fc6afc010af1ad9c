"""Workers: one row per thread of a worker process that executes tasks, updated by its heartbeat."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.models.fields import text_field, time_field

EVENT_LOOP: Final = -1
"""The number of the worker of a process's async tasks, among those of its threads."""


class RunningStep(NamedTuple):
    """A step that a worker executes: its key, empty between steps, and since when."""

    key: str
    since: datetime | None


class Worker(models.Model):
    """A thread of a worker process, which executes a task at a time, or its event loop, which executes many.

    Its process holds an advisory lock on its id.
    """

    id = models.AutoField(primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    thread = models.SmallIntegerField(
        default=0,
        db_default=0,
        help_text="Which thread of its process it is; 0 is the main thread, -1 the event loop of async tasks.",
    )
    slots = models.SmallIntegerField(default=1, db_default=1, help_text="How many tasks it executes at once.")
    cluster = models.CharField(max_length=64, help_text="The `manage.py worker` command that started it.")
    version = models.CharField(max_length=50, help_text="Its version of taskqueue.")
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    ended_at = time_field()
    end_reason = text_field(100)
    pipelines = models.JSONField(default=list, db_default=[], blank=True, help_text="The pipelines of its code.")
    queues = models.JSONField(default=list, db_default=[], blank=True, help_text="The queues it takes; empty: all.")
    not_queues = models.JSONField(default=list, db_default=[], blank=True, help_text="The queues it does not take.")
    draining_at = time_field("Since when it finishes its tasks and claims no new ones.")
    task_id = models.UUIDField(
        null=True, blank=True, help_text="The task that it ran at its last heartbeat; of several the first."
    )
    executing = models.SmallIntegerField(
        default=0, db_default=0, help_text="How many tasks it ran at its last heartbeat."
    )
    step = text_field(200)
    step_started_at = time_field()
    steps = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="Of an event loop: for each task its step, and for how many seconds it ran at the last heartbeat.",
    )

    claim_error = text_field(300, "The error of its last claims.", db_default="")

    class Meta:
        indexes = [
            # live workers, and the sweep for dead ones
            models.Index("heartbeat_at", name="taskqueue_worker_live", condition=Q(ended_at__isnull=True)),
        ]

    def __str__(self) -> str:
        if self.thread == EVENT_LOOP:
            return f"{self.host}:{self.pid} event loop"
        return f"{self.host}:{self.pid} thread {self.thread + 1}" if self.thread else f"{self.host}:{self.pid}"

    def step_of(self, task: UUID) -> RunningStep | None:
        """The step of a task that it ran at its last heartbeat; None if it did not run that task then."""
        if self.thread != EVENT_LOOP:
            return RunningStep(self.step, self.step_started_at) if self.task_id == task else None
        if (found := self.steps.get(str(task))) is None:
            return None
        step, seconds = found
        return RunningStep(step, self.heartbeat_at - timedelta(seconds=seconds))


class StepReport(models.Model):
    """Log lines and stack of the step that a worker executes now; one row per task."""

    task_id = models.UUIDField(primary_key=True, help_text="The task of the step.")
    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="reports", db_constraint=False)
    lease = models.IntegerField(help_text="The worker's lease of the task.")
    step = models.CharField(max_length=200, help_text="The step's key.")
    logs = models.JSONField(null=True, blank=True)
    stack = models.TextField(blank=True, default="")
    reported_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.step
