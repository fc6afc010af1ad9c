"""Operations: one row for each thing that a person had done to many tasks at once."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.ids import uuid7
from taskqueue.states import BulkOperationStatus, BulkOperationVerb


class BulkOperation(models.Model):
    """A verb for every task that a filter matched at its start; `engine.maintenance.bulk_operations` does it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    verb = models.CharField(max_length=8, choices=[(verb.value, verb.value) for verb in BulkOperationVerb])
    query = models.TextField(blank=True, default="", help_text="The list that it was started from, as its address.")
    selection = models.JSONField(help_text="Which tasks; times are those of its start.")
    reason = models.CharField(max_length=300, blank=True, default="")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    started_by = models.CharField(max_length=150, blank=True, default="", help_text="Kept when the account is gone.")
    estimate = models.PositiveIntegerField(help_text="How many matched at its start; one more than the cap: more.")

    status = models.CharField(max_length=8, choices=[(status.value, status.value) for status in BulkOperationStatus])
    until = models.UUIDField(help_text="The newest task at its start; those made later are left alone.")
    position = models.UUIDField(help_text="Every task up to this one has been done.")
    processed = models.PositiveIntegerField(default=0, db_default=0)
    changed = models.PositiveIntegerField(default=0, db_default=0)
    skipped = models.PositiveIntegerField(default=0, db_default=0, help_text="They had moved on.")
    failed = models.PositiveIntegerField(default=0, db_default=0, help_text="They could not be done.")
    refusals = models.JSONField(default=dict, db_default={}, blank=True, help_text="Why not, and how often.")

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    aborted_by = models.CharField(max_length=150, blank=True, default="", db_default="")

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
            # statements.LOOK and operations.advance: what is to be worked off, the oldest first.
            models.Index(fields=["id"], name="taskqueue_bulkoperation_open", condition=Q(finished_at__isnull=True)),
            # statements.PRUNE_OPERATIONS
            models.Index(
                fields=["finished_at"], name="taskqueue_bulkoperation_ended", condition=Q(finished_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        """The verb and how many."""
        return f"{self.verb} of {self.estimate} tasks"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is done."""
        return self.status in {BulkOperationStatus.ABORTED, BulkOperationStatus.DONE}
