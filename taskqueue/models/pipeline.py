"""Pipelines and their steps, copied from the code after each migrate and at worker start."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.db.models import Value
from django.db.models.functions import Coalesce, Now, NullIf

from taskqueue.models.fields import flag_field, text_field, time_field
from taskqueue.queues import DEFAULT_QUEUE, QUEUE_NAME_MAX


class Pipeline(models.Model):
    """A pipeline that deployed code defines. The name is the primary key, so that other rows show it without a join."""

    name = models.CharField(primary_key=True, max_length=200, db_collation="C")
    description = models.TextField(blank=True, default="")
    payload_schema = models.JSONField(default=dict, help_text="JSON schema of the payload.")
    payload_example = models.JSONField(null=True, blank=True)
    result_schema = models.JSONField(default=dict, help_text="JSON schema of the result.")
    retry = models.JSONField(default=list, help_text="Seconds between attempts of the body itself.")
    policies = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="The other policies of the code: limits, rates, triggers."
    )
    version = text_field(50, "The version of the body that new tasks run.", db_default="")
    fingerprint = text_field(32, "Fingerprint of the code of body and steps.", db_default="")
    announces = flag_field("Whether its tasks emit a completion event.")
    has_handlers = flag_field("Whether it has an on_failure or on_cancel handler.")
    declared_queue = models.CharField(
        max_length=QUEUE_NAME_MAX, default=DEFAULT_QUEUE, db_default=DEFAULT_QUEUE, help_text="Its queue in the code."
    )
    queue = text_field(QUEUE_NAME_MAX, "Its queue, if it differs from the code.", db_default="")
    keep = models.DurationField(null=True, blank=True, help_text="How long ended tasks are kept, if the code sets it.")
    keep_for_ever = flag_field("Whether ended tasks are never pruned.")
    definition_digest = text_field(64, "Digest of the definition that was last copied from the code.", db_default="")
    paused_at = time_field()
    paused_by = text_field(150, db_default="")
    pause_reason = text_field(300, db_default="")
    registered_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        permissions = [("pause_pipeline", "Can pause and resume pipeline")]

    def __str__(self) -> str:
        return self.name

    @property
    def effective_queue(self) -> str:
        """The queue in force: one that a user has set replaces the code's."""
        return self.queue or self.declared_queue


EFFECTIVE_QUEUE: Final = Coalesce(NullIf("queue", Value("")), "declared_queue")
"""`Pipeline.effective_queue` in a query."""


class PipelineStep(models.Model):
    """A step that the pipeline's code calls."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="known_steps", db_index=False)
    name = models.CharField(max_length=200)
    position = models.PositiveSmallIntegerField(help_text="Its position in the code of the body, from 0.")
    atomic = models.BooleanField(
        default=False, help_text="Whether its ORM writes and its checkpoint are one transaction."
    )
    timeout = models.DurationField(null=True, blank=True)
    retry = models.JSONField(default=list, help_text="Seconds between attempts.")
    queue = text_field(QUEUE_NAME_MAX, "Its queue; empty for the pipeline's.", db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pipeline", "name"], name="taskqueue_pipelinestep_name_once"),
        ]

    def __str__(self) -> str:
        return self.name
