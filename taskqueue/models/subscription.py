"""Subscriptions: addresses outside that are called when a task has ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from taskqueue.conf import settings as own_settings
from taskqueue.models.fields import text_field, time_field
from taskqueue.states import ENDED
from taskqueue.webhooks.addresses import ADDRESS_MAX_LENGTH, RefusedAddress, parse_address
from taskqueue.webhooks.signatures import new_secret

ENDINGS: Final = sorted(ENDED, reverse=True)


def all_endings() -> list[str]:
    """The default of `Subscription.endings`."""
    return [ending.value for ending in ENDINGS]


class Subscription(models.Model):
    """An address that is called when a task ends, and the tasks that it is called for."""

    address = models.CharField(max_length=ADDRESS_MAX_LENGTH, help_text="The URL that is called, with https.")
    description = text_field(200, "What it is for.", db_default="")
    pipelines: ArrayField[Any, list[str]] = ArrayField(
        models.CharField(max_length=201),
        default=list,
        blank=True,
        help_text="Names of pipelines, or their beginnings with an asterisk, such as shop/*. Empty: all.",
    )
    labels = models.JSONField(default=dict, blank=True, help_text="Labels that the task must have. Empty: any.")
    endings: ArrayField[Any, list[str]] = ArrayField(
        models.CharField(max_length=16), default=all_endings, help_text="The ends that it is called for."
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        help_text="The user who saved it last: it is sent what this user may see. Null: everything.",
    )
    secret = models.CharField(max_length=100, default=new_secret, editable=False, help_text="Signs each request.")
    old_secret = text_field(100, "Signs too, after a rotation.", editable=False, db_default="")
    old_secret_until = time_field("Until when the old secret signs.", editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    disabled_at = time_field("Since when it is not called.", editable=False)
    disabled_reason = text_field(300, editable=False, db_default="")
    failures = models.IntegerField(
        default=0, db_default=0, editable=False, help_text="How many of its last deliveries have failed in a row."
    )
    failing_since = time_field("The first of these failures.", editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="taskqueue_subscription_endings_known",
                condition=Q(endings__contained_by=all_endings()) & ~Q(endings=[]),
                violation_error_message="Choose one or more of the endings.",
            ),
        ]

    def __str__(self) -> str:
        return self.description or self.address

    def secrets_at(self, moment: datetime) -> list[str]:
        """The secrets that sign at a time: two for a while after a rotation."""
        signs_twice = self.old_secret_until is not None and self.old_secret_until > moment
        return [self.secret, self.old_secret] if signs_twice else [self.secret]

    def clean(self) -> None:
        """Check the address, the pipelines and the labels.

        Raises:
            ValidationError: by field.
        """
        try:
            parse_address(self.address, allow_private=own_settings().WEBHOOKS_ALLOW_PRIVATE)
        except RefusedAddress as error:
            raise ValidationError({"address": str(error)}) from error
        if any(not name or "*" in name[:-1] for name in self.pipelines):
            raise ValidationError({"pipelines": "An asterisk stands at the end of a name: shop/*."})
        is_labels = isinstance(self.labels, dict) and all(isinstance(value, str) for value in self.labels.values())
        if not is_labels:
            raise ValidationError({"labels": 'Labels are a JSON object of texts: {"customer": "7"}.'})
