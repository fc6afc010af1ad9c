"""Access: tokens with which programs call, and who may act on a pipeline when not everybody may."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.models.pipeline import Pipeline


class Token(models.Model):
    """A secret with which a program calls the API as its user. The secret itself is not kept.

    What is kept is its SHA-256. A slow hash protects words that people choose, which can be guessed; this secret is 256
    random bits, which cannot, so a fast one that an index finds is as safe.
    """

    name = models.CharField(max_length=100, help_text="What it is for, such as nightly-import.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="taskqueue_tokens",
        help_text="Whoever has the token may do what this user may. A user of its own, without a login, is best.",
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=16, editable=False, help_text="How it begins, to recognise it by.")
    per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Requests in a minute. Empty: as many as it likes.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    last_used_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="To the minute, so that not every request writes."
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    theoretical_arrival_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its next request would be due if all came evenly."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="taskqueue_token_at_least_one", condition=Q(per_minute__isnull=True) | Q(per_minute__gte=1)
            ),
        ]

    def __str__(self) -> str:
        """Its name, and how it begins."""
        return f"{self.name} ({self.prefix}…)"


class PipelinePermission(models.Model):
    """That a user or a group may do something with a pipeline. The first one closes it to everybody who has none."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="rights", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    group = models.ForeignKey(Group, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    run = models.BooleanField(default=False, help_text="Submit tasks and rerun them.")
    view_payload = models.BooleanField(
        default=False, help_text="See payloads, results, and what steps were given and returned."
    )
    retry = models.BooleanField(default=False, help_text="Retry tasks.")
    cancel = models.BooleanField(default=False, help_text="Cancel tasks.")

    class Meta:
        verbose_name = "pipeline permission"
        constraints = [
            models.CheckConstraint(
                name="taskqueue_pipelinepermission_of_one",
                condition=Q(user__isnull=False, group__isnull=True) | Q(user__isnull=True, group__isnull=False),
                violation_error_message="A right belongs to a user or to a group: choose one of them.",
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
        # rights.Rights: who is named for this pipeline
        indexes = [models.Index(fields=["pipeline"], name="taskqueue_permission_pipeline")]

    def __str__(self) -> str:
        """The pipeline and who is named."""
        return f"{self.pipeline_id}: {self.user if self.user_id else self.group}"
