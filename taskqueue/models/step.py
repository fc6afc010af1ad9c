"""Recorded steps and their failed attempts."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from taskqueue.models.fields import optional_key, time_field
from taskqueue.models.task import Task
from taskqueue.models.worker import Worker
from taskqueue.states import AttemptOutcome, StepKind, StepStatus


class Step(models.Model):
    """A recorded step: its checkpoint after success, its retry state before. A trigger checks each row."""

    # No constraint: it would lock the task's row once more at each checkpoint. Each statement that inserts steps holds
    # that row's lock under its lease, and each one that deletes tasks deletes their steps.
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="steps", db_index=False, db_constraint=False)
    key = models.CharField(max_length=200, help_text="The step's name, with #2, #3 … for further calls.")
    name = models.CharField(max_length=200)
    kind = models.CharField(
        max_length=8,
        default=StepKind.STEP,
        db_default=StepKind.STEP,
        choices=[(kind.value, kind.value) for kind in StepKind],
    )
    status = models.CharField(max_length=16, choices=[(status.value, status.value) for status in StepStatus])
    failures = models.SmallIntegerField(default=0, help_text="Failed attempts since the last retry by a user.")
    input = models.JSONField(null=True, blank=True)
    input_hash = models.CharField(max_length=32)
    output = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True, help_text="Type and message of the last failed attempt.")
    logs = models.JSONField(null=True, blank=True, help_text="Log lines of the successful attempt.")
    until = time_field("When a waiting step ends by itself.")
    child = optional_key(Task, "+", "The child task that runs it.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Also for loading the journal: all steps of one task.
            models.UniqueConstraint(fields=["task", "key"], name="taskqueue_step_key_once"),
        ]
        indexes = [
            # pruning: the parent's step of a child task
            models.Index(fields=["child"], name="taskqueue_step_by_child", condition=Q(child__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.key


class Attempt(models.Model):
    """A failed attempt of a step, or of the body itself, whose step key is empty."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    step_key = models.CharField(max_length=200, blank=True)
    number = models.PositiveIntegerField(help_text="Number of the attempt of this step, from 1.")
    outcome = models.CharField(max_length=16, choices=[(outcome.value, outcome.value) for outcome in AttemptOutcome])
    error_type = models.CharField(max_length=200)
    error_message = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    logs = models.JSONField(null=True, blank=True, help_text="Log lines of the attempt.")
    worker = optional_key(Worker, "+", on_delete=models.DO_NOTHING, db_constraint=False)
    lease = models.IntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "step_key", "number"], name="taskqueue_attempt_number_once"),
            models.CheckConstraint(
                name="taskqueue_attempt_outcome_known", condition=Q(outcome__in=list(AttemptOutcome))
            ),
        ]
        indexes = [
            # rollups: the failed attempts of a minute
            models.Index(fields=["finished_at"], name="taskqueue_attempt_by_end"),
            # the list of error types; only failed attempts are indexed
            models.Index(fields=["error_type"], name="taskqueue_attempt_by_error"),
        ]

    def __str__(self) -> str:
        return f"{self.step_key or 'body'}, attempt {self.number}: {self.outcome}"
