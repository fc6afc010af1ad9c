"""Pipelines and their known steps, definition_digest from the code so that people see them before the first task."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Pipeline(models.Model):
    """A pipeline that some deployed code defines. Its name is its key, so that a row elsewhere reads without a join."""

    name = models.CharField(primary_key=True, max_length=200, db_collation="C")
    description = models.TextField(blank=True, default="")
    payload_schema = models.JSONField(default=dict, help_text="JSON schema of the payload.")
    payload_example = models.JSONField(null=True, blank=True)
    result_schema = models.JSONField(default=dict, help_text="JSON schema of the result.")
    retry = models.JSONField(default=list, help_text="Waits between tries of the body itself, in seconds.")
    policies = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="What else the code says: limits, rates, starts."
    )
    version = models.CharField(
        max_length=50, blank=True, default="", db_default="", help_text="Of the body that new tasks run."
    )
    fingerprint = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="Of the code of body and steps."
    )
    announces = models.BooleanField(
        default=False, db_default=False, help_text="Whether its tasks emit an event when they end."
    )
    has_handlers = models.BooleanField(
        default=False, db_default=False, help_text="Whether on_failure or on_cancel runs after its tasks."
    )
    keep = models.DurationField(
        null=True, blank=True, help_text="How long its ended tasks are kept, if the code says so."
    )
    keep_for_ever = models.BooleanField(default=False, db_default=False, help_text="Whether they are never pruned.")
    definition_digest = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="A digest of all that the code last said of it."
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    pause_reason = models.CharField(max_length=300, blank=True, default="", db_default="")
    registered_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        permissions = [("pause_pipeline", "Can pause and resume pipeline")]

    def __str__(self) -> str:
        """The name."""
        return self.name


class PipelineStep(models.Model):
    """A step that a pipeline's body is known to call."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="known_steps", db_index=False)
    name = models.CharField(max_length=200)
    position = models.PositiveSmallIntegerField(help_text="The order in which the body names its steps, from 0.")
    atomic = models.BooleanField(default=False, help_text="Its ORM writes and its checkpoint commit together.")
    timeout = models.DurationField(null=True, blank=True)
    retry = models.JSONField(default=list, help_text="Waits between tries, in seconds.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pipeline", "name"], name="taskqueue_pipelinestep_name_once"),
        ]

    def __str__(self) -> str:
        """The name."""
        return self.name
