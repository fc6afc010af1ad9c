"""API tokens, and permissions for single pipelines."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.models.fields import limit_field, time_field
from taskqueue.models.pipeline import Pipeline


class Token(models.Model):
    """A secret with which a program calls the API as its user. Only its SHA-256 is stored.

    A slow hash is for passwords, which can be guessed. This secret has 256 random bits, so a fast hash, which an index
    can find, is as safe.
    """

    name = models.CharField(max_length=100, help_text="What the token is for, such as nightly-import.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="taskqueue_tokens",
        help_text="The token has this user's permissions. Best is a separate user without a login.",
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(
        max_length=16, editable=False, help_text="The first characters of the secret, to recognise it."
    )
    per_minute = limit_field("Requests per minute. Empty: no limit.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = time_field("Empty: never.")
    last_used_at = time_field("Updated once a minute at most, so that not every request writes.", editable=False)
    revoked_at = time_field(editable=False)
    theoretical_arrival_at = time_field(
        "GCRA: when the next request would be due if requests came evenly.", editable=False
    )

    has_grants: bool = True
    """Whether any pipeline had grants when the token was read for a request; not stored."""

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="taskqueue_token_at_least_one", condition=Q(per_minute__isnull=True) | Q(per_minute__gte=1)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class PipelinePermission(models.Model):
    """What a user or group may do with a pipeline. With the first row the pipeline is closed to all others."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="rights", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    group = models.ForeignKey(Group, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    run = models.BooleanField(default=False, help_text="Submit and rerun tasks.")
    view_payload = models.BooleanField(
        default=False, help_text="See payloads, results, and the arguments and outputs of steps."
    )
    retry = models.BooleanField(default=False, help_text="Retry tasks.")
    cancel = models.BooleanField(default=False, help_text="Cancel tasks.")

    class Meta:
        verbose_name = "pipeline permission"
        constraints = [
            models.CheckConstraint(
                name="taskqueue_pipelinepermission_of_one",
                condition=Q(user__isnull=False, group__isnull=True) | Q(user__isnull=True, group__isnull=False),
                violation_error_message="A permission belongs to a user or to a group: choose one.",
            ),
            models.UniqueConstraint(
                fields=["pipeline", "user"],
                name="taskqueue_pipelinepermission_once_per_user",
                condition=Q(user__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["pipeline", "group"],
                name="taskqueue_pipelinepermission_once_per_group",
                condition=Q(group__isnull=False),
            ),
        ]
        # access.permissions: the permissions of a pipeline
        indexes = [models.Index(fields=["pipeline"], name="taskqueue_permission_pipeline")]

    def __str__(self) -> str:
        return f"{self.pipeline_id}: {self.user if self.user_id else self.group}"
