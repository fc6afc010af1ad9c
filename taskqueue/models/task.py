"""Tasks: one row each, from the call that made it to the end of its history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Case, ExpressionWrapper, F, Q, Value, When
from django.db.models.functions import Now

from taskqueue.ids import uuid7
from taskqueue.models.pipeline import Pipeline
from taskqueue.models.worker import Worker
from taskqueue.states import ENDED, ON_A_TIMER, TaskStatus

PRIORITY_LIMIT = 600


def queue_place(due_at: Any, priority: Any) -> ExpressionWrapper[Any]:
    """The `sort_at` that belongs to a due time and a priority."""
    ahead = ExpressionWrapper(priority * Value(timedelta(seconds=1)), models.DurationField())
    return ExpressionWrapper(due_at - ahead, models.DateTimeField())


class Task(models.Model):
    """One run of a pipeline. The engine alone writes here; its statements are in `engine/statements.py`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    status = models.CharField(max_length=16, choices=[(status.value, status.value) for status in TaskStatus])
    key = models.CharField(max_length=200, blank=True, default="", help_text="The caller's idempotency key.")
    labels = models.JSONField(default=dict, blank=True)
    priority = models.SmallIntegerField(default=0, help_text="Seconds by which it goes before tasks of the same age.")

    payload = models.JSONField()
    result = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True, help_text="Why it failed: type, message and step.")

    due_at = models.DateTimeField(help_text="When it may start or go on.")
    sort_at = models.DateTimeField(help_text="Its place in the queue: due_at less priority seconds.")
    # Both are null whenever they do not apply, so each has one index that serves it and no other can: the planner
    # cannot be led astray by statistics that are older than the queue.
    lane = models.GeneratedField(
        expression=Case(When(status=TaskStatus.QUEUED, then=F("pipeline"))),
        output_field=models.CharField(max_length=200, null=True, db_collation="C"),
        db_persist=True,
        help_text="The pipeline in whose queue it stands; null while it is not ready.",
    )
    timer_at = models.GeneratedField(
        expression=Case(When(status__in=ON_A_TIMER, then=F("due_at"))),
        output_field=models.DateTimeField(null=True),
        db_persist=True,
        help_text="When it becomes ready by itself; null while nothing of that kind is ahead.",
    )
    worker = models.ForeignKey(
        Worker, on_delete=models.PROTECT, null=True, blank=True, related_name="tasks", db_index=False
    )
    lease = models.IntegerField(default=0, help_text="Raised at every claim; older leases write nothing.")
    failures = models.SmallIntegerField(default=0, help_text="Failed tries of the body itself, between its steps.")
    progress = models.FloatField(null=True, blank=True)
    progress_note = models.CharField(max_length=200, blank=True, default="")
    rerun_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="reruns", db_index=False
    )

    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    retried_at = models.DateTimeField(null=True, blank=True, help_text="When a person last asked for more tries.")

    duplicate: bool = False
    """Whether `enqueue` found this task by its key instead of making it; not stored."""

    class Meta:
        permissions = [("retry_task", "Can retry task"), ("cancel_task", "Can cancel task")]
        constraints = [
            models.CheckConstraint(name="taskqueue_task_status_known", condition=Q(status__in=list(TaskStatus))),
            models.CheckConstraint(
                name="taskqueue_task_priority_range",
                condition=Q(priority__gte=-PRIORITY_LIMIT, priority__lte=PRIORITY_LIMIT),
            ),
            models.CheckConstraint(
                name="taskqueue_task_sorted_by_priority",
                condition=Q(sort_at=queue_place(F("due_at"), F("priority"))),
            ),
            models.CheckConstraint(
                name="taskqueue_task_running_has_worker",
                condition=~Q(status=TaskStatus.RUNNING) | Q(worker__isnull=False, started_at__isnull=False),
            ),
            models.CheckConstraint(
                name="taskqueue_task_ended_has_finish",
                condition=Q(status__in=ENDED, finished_at__isnull=False)
                | (~Q(status__in=ENDED) & Q(finished_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="taskqueue_task_failed_has_error",
                condition=~Q(status=TaskStatus.FAILED) | Q(error__isnull=False),
            ),
            models.CheckConstraint(
                name="taskqueue_task_result_of_success",
                condition=Q(result__isnull=True) | Q(status=TaskStatus.SUCCEEDED),
            ),
            models.CheckConstraint(name="taskqueue_task_lease_counts_up", condition=Q(lease__gte=0)),
            models.CheckConstraint(
                name="taskqueue_task_progress_share",
                condition=Q(progress__isnull=True) | Q(progress__gte=0, progress__lte=1),
            ),
        ]
        indexes = [
            # statements.CLAIM: the head of each pipeline's queue.
            models.Index("lane", "sort_at", "id", name="taskqueue_task_claim", condition=Q(lane__isnull=False)),
            # statements.PROMOTE and NEXT_TIMER: what becomes due next.
            models.Index("timer_at", name="taskqueue_task_timer", condition=Q(timer_at__isnull=False)),
            # statements.RECOVER: what a dead worker held.
            models.Index("worker", name="taskqueue_task_held", condition=Q(status=TaskStatus.RUNNING)),
            # queries.listing: newest first, by status or pipeline.
            models.Index(fields=["status", "-id"], name="taskqueue_task_by_status"),
            models.Index(fields=["pipeline", "-id"], name="taskqueue_task_by_pipeline"),
            # pruning, and the list of a task's reruns
            models.Index("rerun_of", name="taskqueue_task_reruns", condition=Q(rerun_of__isnull=False)),
            # search by the beginning of a key
            models.Index(
                fields=["key"], opclasses=["varchar_pattern_ops"], name="taskqueue_task_by_key", condition=~Q(key="")
            ),
        ]

    def __str__(self) -> str:
        """The pipeline and the id."""
        return f"{self.pipeline_id} {self.id}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.status in ENDED
