"""The form that submits a task: its fields are made from the payload's JSON schema, and the options follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_datetime

from taskqueue.forms.form_values import seconds_in
from taskqueue.forms.schema_form import INTEGER, MOST_DIGITS, SchemaForm
from taskqueue.models.task import PRIORITY_LIMIT


class SubmitForm(SchemaForm):
    key = forms.CharField(
        required=False,
        label="Key",
        help_text="The idempotency key: a second task with this key is not created; you get the existing one.",
    )
    force = forms.BooleanField(
        required=False,
        label="Create a new task even if the key exists",
        help_text="The key then belongs to the new task.",
    )
    priority = forms.CharField(
        required=False,
        initial="0",
        label="Priority",
        help_text=(
            f"Seconds by which it is ahead of tasks of the same age, from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}."
        ),
    )
    delay = forms.CharField(required=False, label="Start in", help_text="Such as 90, 15m or 2h 30m. Empty: now.")
    run_at = forms.CharField(
        required=False,
        label="Start at",
        help_text="Instead: a time such as 2030-01-31 08:00, in UTC if it has no offset.",
    )
    labels = forms.CharField(
        required=False,
        label="Labels",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One per line: name = value.",
    )
    OPTIONS = ("key", "force", "priority", "delay", "run_at", "labels")

    def clean_priority(self) -> int:
        text = self.cleaned_data["priority"].strip() or "0"
        if not INTEGER.fullmatch(text) or len(text) >= MOST_DIGITS:
            raise ValidationError("The priority is a whole number.")
        return int(text)  # the engine checks its bounds

    def clean_delay(self) -> timedelta | None:
        text = self.cleaned_data["delay"].strip()
        seconds = seconds_in(text) if text else 0
        if seconds is None or seconds > timedelta.max.total_seconds() / 1000:
            raise ValidationError("Write seconds, or a length such as 15m or 2h 30m.")
        return timedelta(seconds=seconds) if text else None

    def clean_run_at(self) -> datetime | None:
        text = self.cleaned_data["run_at"].strip()
        if not text:
            return None
        try:
            time = parse_datetime(text)
        except ValueError as error:
            raise ValidationError(f"There is no such time: {error}.") from error
        if time is None:
            raise ValidationError("Write a time such as 2030-01-31 08:00.")
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    def clean_labels(self) -> dict[str, str]:
        labels = {}
        for line in filter(str.strip, self.cleaned_data["labels"].splitlines()):
            name, separator, value = line.partition("=")
            if not separator or not name.strip():
                raise ValidationError(f"“{line.strip()}” is not of the form name = value.")
            labels[name.strip()] = value.strip()
        return labels

    def clean(self) -> dict[str, Any]:
        """Check that only one of "Start in" and "Start at" is filled in, and that JSON fields hold JSON."""
        values = super().clean()
        if values.get("delay") is not None and values.get("run_at") is not None:
            self.add_error("run_at", "Fill in either “Start in” or “Start at”, not both.")
        return values

    @property
    def options(self) -> list[Any]:
        return [self[name] for name in self.OPTIONS]

    @property
    def has_options(self) -> bool:
        """Whether an option is filled in or has an error, so that the options must be visible."""
        return any(self[name].errors or self[name].value() not in (None, "", "0", False) for name in self.OPTIONS)
