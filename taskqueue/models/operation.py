"""Bulk operations: one action on many tasks."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.ids import uuid7
from taskqueue.models.fields import text_field, time_field
from taskqueue.states import BulkOperationStatus, BulkOperationVerb


class BulkOperation(models.Model):
    """An action on every task that a filter matched at the start; workers execute it in batches."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    verb = models.CharField(max_length=8, choices=[(verb.value, verb.value) for verb in BulkOperationVerb])
    query = models.TextField(blank=True, default="", help_text="The query string of the list that it was started from.")
    selection = models.JSONField(help_text="The filter, with times as of the start.")
    reason = text_field(300)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    started_by = text_field(150, "The user's name, kept when the account is deleted.")
    estimate = models.PositiveIntegerField(
        help_text="How many tasks matched at the start; the cap plus one means more than the cap."
    )

    status = models.CharField(max_length=8, choices=[(status.value, status.value) for status in BulkOperationStatus])
    until = models.UUIDField(help_text="The newest task at the start; later tasks are not included.")
    position = models.UUIDField(help_text="Every task up to this one has been processed.")
    processed = models.PositiveIntegerField(default=0, db_default=0)
    changed = models.PositiveIntegerField(default=0, db_default=0)
    skipped = models.PositiveIntegerField(default=0, db_default=0, help_text="Tasks whose status no longer allowed it.")
    failed = models.PositiveIntegerField(default=0, db_default=0, help_text="Tasks for which the action failed.")
    refusals = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="The reasons and how often each occurred."
    )

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = time_field()
    finished_at = time_field()
    aborted_by = text_field(150, db_default="")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="taskqueue_bulkoperation_verb_known", condition=Q(verb__in=list(BulkOperationVerb))
            ),
            models.CheckConstraint(
                name="taskqueue_bulkoperation_status_known", condition=Q(status__in=list(BulkOperationStatus))
            ),
            models.CheckConstraint(
                name="taskqueue_bulkoperation_ended_has_finish",
                condition=Q(status__in=["aborted", "done"], finished_at__isnull=False)
                | Q(status__in=["planned", "running"], finished_at__isnull=True),
            ),
        ]
        indexes = [
            # open operations, the oldest first
            models.Index(fields=["id"], name="taskqueue_bulkoperation_open", condition=Q(finished_at__isnull=True)),
            # pruning
            models.Index(
                fields=["finished_at"], name="taskqueue_bulkoperation_ended", condition=Q(finished_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} of {self.estimate} tasks"

    @property
    def has_ended(self) -> bool:
        return self.status in {BulkOperationStatus.ABORTED, BulkOperationStatus.DONE}
