"""Alert rules: conditions that are checked every few seconds, and the alerts that are pending or firing now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import models
from django.db.models.functions import Now

from taskqueue.conf import settings as own_settings
from taskqueue.models.fields import text_field, time_field
from taskqueue.webhooks.addresses import RefusedAddress, parse_address

MAIL, SLACK, WEBHOOK = "mail", "slack", "webhook"
RECIPIENTS: Final = {MAIL: "mail_addresses", SLACK: "slack_addresses", WEBHOOK: "webhook_addresses"}
"""The channels, and the field with the addresses of each."""
RECIPIENTS_MAX: Final = 20
SUBJECT_MAX_LENGTH: Final = 250
SHORTEST_REPEAT: Final = timedelta(minutes=1)
DEFAULT_REPEAT: Final = timedelta(hours=4)


class AlertRule(models.Model):
    """A condition, its threshold, and the recipients of messages.

    The row is the lock for its alerts: one process at a time evaluates a rule.
    """

    name = models.CharField(max_length=100, unique=True, help_text="What messages and lists call it.")
    condition = models.CharField(max_length=40, help_text="What is checked.")
    threshold = models.FloatField(help_text="From this value on the condition holds; of live workers, below it.")
    subjects: ArrayField[Any, list[str]] = ArrayField(
        models.CharField(max_length=SUBJECT_MAX_LENGTH),
        default=list,
        blank=True,
        help_text="The pipelines or queues that it covers, or their beginnings with an asterisk, such as shop/*, with "
        "commas. Empty: all.",
    )
    hold_for = models.DurationField(
        "for",
        default=timedelta(0),
        help_text="How long the condition must hold before it fires: hours:minutes:seconds.",
    )
    repeat_every = models.DurationField(
        "repeat",
        null=True,
        blank=True,
        default=DEFAULT_REPEAT,
        help_text="How often to remind while it fires: hours:minutes:seconds. Empty: never.",
    )
    mail_addresses = models.TextField(blank=True, default="", help_text="One address in each line.")
    slack_addresses = models.TextField(
        "Slack addresses",
        blank=True,
        default="",
        help_text='Incoming webhooks of Slack, or of a chat that takes the same JSON, {"text": "…"}. One in each line.',
    )
    webhook_addresses = models.TextField(
        blank=True,
        default="",
        help_text="Addresses that are sent the alert as JSON, signed as Standard Webhooks. One in each line.",
    )
    is_enabled = models.BooleanField("enabled", default=True, db_default=True, help_text="Whether it is checked.")
    silenced_until = time_field("Until when it sends nothing.", editable=False)
    silenced_by = text_field(150, editable=False, db_default="")
    silence_reason = text_field(300, editable=False, db_default="")
    evaluated_at = time_field("When it was last checked.", editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def recipients(self) -> list[tuple[str, str]]:
        """The channel and the address of each recipient."""
        return [(channel, each) for channel, field in RECIPIENTS.items() for each in lines_of(getattr(self, field))]

    def is_silenced_at(self, moment: datetime) -> bool:
        """Whether it sends nothing at a time."""
        return self.silenced_until is not None and self.silenced_until > moment

    def covers(self, subject: str) -> bool:
        """Whether the rule is about a subject; a condition about the whole service has the subject ""."""
        return not self.subjects or any(
            subject == name or (name.endswith("*") and subject.startswith(name[:-1])) for name in self.subjects
        )

    def clean(self) -> None:
        """Check the numbers and the addresses.

        Raises:
            ValidationError: by field.
        """
        if errors := dict(self.problems()):
            raise ValidationError(errors)

    def problems(self) -> Iterator[tuple[str, str]]:
        """The fields that are not valid, and why."""
        threshold: Any = self.threshold  # None if the form could not read it, which has a message of its own
        if threshold is not None and not 0 < threshold < float("inf"):
            yield "threshold", "The threshold is a number above 0."
        if self.hold_for < timedelta(0):
            yield "hold_for", "The time is 0 or longer."
        if self.repeat_every is not None and self.repeat_every < SHORTEST_REPEAT:
            yield "repeat_every", "Remind every minute at most, or leave it empty."
        if any(not name or "*" in name[:-1] for name in self.subjects):
            yield "subjects", "An asterisk stands at the end of a name: shop/*."
        for channel, field in RECIPIENTS.items():
            addresses = lines_of(getattr(self, field))
            if len(addresses) > RECIPIENTS_MAX:
                yield field, f"Give {RECIPIENTS_MAX} addresses at most."
            elif problem := next(filter(None, (address_problem(channel, each) for each in addresses)), ""):
                yield field, problem


class Alert(models.Model):
    """A condition that holds for one subject now: pending until it has held long enough, then firing.

    The row is deleted when the condition does not hold any more.
    """

    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="alerts", db_index=False)
    subject = text_field(SUBJECT_MAX_LENGTH, "The pipeline, queue or subscription; empty for the whole service.")
    value = models.FloatField()
    text = models.CharField(max_length=500)
    link = models.CharField(max_length=1000, help_text="The page behind it, below that of the app in the admin.")
    pending_since = models.DateTimeField()
    firing_since = time_field("Null: pending.")
    notified_at = time_field("When a message was last enqueued; null: not yet.")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["rule", "subject"], name="taskqueue_alert_once")]

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}" if self.subject else str(self.rule)


def lines_of(text: str) -> list[str]:
    """The lines of a text that are not empty, each once."""
    return list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))


def address_problem(channel: str, address: str) -> str:
    """Why nothing can be sent to an address; "" if it can."""
    settings = own_settings()
    try:
        if channel == MAIL:
            validate_email(address)
        else:
            parse_address(address, allow_private=settings.WEBHOOKS_ALLOW_PRIVATE)
    except ValidationError:
        return f"{address} is not a mail address."
    except RefusedAddress as error:
        return str(error)
    if channel == WEBHOOK and not settings.WEBHOOKS_SECRET:
        return "This service has no secret to sign calls (setting WEBHOOKS_SECRET)."
    return ""
