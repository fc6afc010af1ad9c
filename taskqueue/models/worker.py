"""Workers: one row per worker process, kept alive by its heartbeat."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Worker(models.Model):
    """A worker process. It holds the session advisory lock of its id for as long as it lives."""

    id = models.AutoField(primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    cluster = models.CharField(max_length=64, help_text="The `manage.py worker` command that it belongs to.")
    version = models.CharField(max_length=50, help_text="The version of taskqueue that it runs.")
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=100, blank=True, default="")
    pipelines = models.JSONField(
        default=list, db_default=[], blank=True, help_text="The pipelines that its code knows."
    )
    draining_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it ends what it has in hand and takes nothing new."
    )
    task_id = models.UUIDField(null=True, blank=True, help_text="The task in its hands, as of the last look.")
    step = models.CharField(max_length=200, blank=True, default="")
    step_started_at = models.DateTimeField(null=True, blank=True)

    claim_error = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="Why its last claims have failed."
    )

    class Meta:
        indexes = [
            # statements.DEAD_WORKERS and liveness.live_workers
            models.Index("heartbeat_at", name="taskqueue_worker_live", condition=Q(ended_at__isnull=True)),
        ]

    def __str__(self) -> str:
        """Where it runs."""
        return f"{self.host}:{self.pid}"


class StepReport(models.Model):
    """What the step that a worker is in has logged so far, and where its code stands; one row per worker."""

    worker = models.OneToOneField(
        Worker, on_delete=models.CASCADE, primary_key=True, related_name="report", db_constraint=False
    )
    task_id = models.UUIDField(help_text="The task in whose step it is.")
    lease = models.IntegerField(help_text="Under which it holds the task.")
    step = models.CharField(max_length=200, help_text="The step's key.")
    logs = models.JSONField(null=True, blank=True)
    stack = models.TextField(blank=True, default="")
    reported_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        """The step."""
        return self.step
