"""Workers: one row per thread of a worker process that executes tasks, updated by its heartbeat."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.models.fields import text_field, time_field


class Worker(models.Model):
    """A thread of a worker process, which executes a task at a time. Its process holds an advisory lock on its id."""

    id = models.AutoField(primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    thread = models.SmallIntegerField(
        default=0,
        db_default=0,
        help_text="Which thread of its process it is; 0 is the main thread.",
    )
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
    task_id = models.UUIDField(null=True, blank=True, help_text="The task that it ran at its last heartbeat.")
    step = text_field(200)
    step_started_at = time_field()

    claim_error = text_field(300, "The error of its last claims.", db_default="")

    class Meta:
        indexes = [
            # live workers, and the sweep for dead ones
            models.Index("heartbeat_at", name="taskqueue_worker_live", condition=Q(ended_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid} thread {self.thread + 1}" if self.thread else f"{self.host}:{self.pid}"


class StepReport(models.Model):
    """Log lines and stack of the step that a worker executes now; one row per worker."""

    worker = models.OneToOneField(
        Worker, on_delete=models.CASCADE, primary_key=True, related_name="report", db_constraint=False
    )
    task_id = models.UUIDField(help_text="The task of the step.")
    lease = models.IntegerField(help_text="The worker's lease of the task.")
    step = models.CharField(max_length=200, help_text="The step's key.")
    logs = models.JSONField(null=True, blank=True)
    stack = models.TextField(blank=True, default="")
    reported_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.step
