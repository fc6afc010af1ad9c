"""The form that submits a task: its fields are made from the payload's JSON schema.

The pipeline's model alone validates the payload. The form converts texts to JSON values where it can and passes on all
others unchanged, so that the error message comes from the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.datastructures import MultiValueDict
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html

from taskqueue.admin.pipelines.payload_schema import MISSING, Kind, SchemaField, groups_of
from taskqueue.admin.shared.form_values import parse_json, seconds_in
from taskqueue.errors import FieldError
from taskqueue.models.task import PRIORITY_LIMIT

PREFIX: Final = "payload"
INTEGER: Final = re.compile(r"[+-]?\d+")
MOST_DIGITS: Final = 1000
HINTS: Final = {
    Kind.DATE: "A date, such as 2030-01-31.",
    Kind.DATETIME: "A time with its offset, such as 2030-01-31T08:00:00Z.",
    Kind.TIME: "A time of day, such as 08:30.",
    Kind.DURATION: "Seconds, or such as 1h 30m or PT1H30M.",
    Kind.JSON: "JSON.",
}
INPUT_MODES: Final = {Kind.INTEGER: "numeric", Kind.NUMBER: "decimal"}


@dataclass(frozen=True)
class Section:
    """Fields under one heading; `rows` pairs each bound field with its JSON schema, empty unless it takes JSON."""

    title: str
    description: str
    rows: list[tuple[Any, str]]


class SubmitForm(forms.Form):
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

    def __init__(
        self, schema: Mapping[str, Any], example: object, data: MultiValueDict[str, str] | None = None
    ) -> None:
        super().__init__(data)
        self.groups = groups_of(schema, example)
        self.payload_fields = {name_of(each): each for group in self.groups for each in group.fields}
        for name, schema_field in self.payload_fields.items():
            self.fields[name] = form_field(schema_field)

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
        """Check that JSON fields hold JSON, and that only one of "Start in" and "Start at" is filled in."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("delay") is not None and values.get("run_at") is not None:
            self.add_error("run_at", "Fill in either “Start in” or “Start at”, not both.")
        for name, schema_field in self.payload_fields.items():
            if name in values:
                try:
                    values[name] = value_of(schema_field, values[name])
                except ValueError as error:
                    self.add_error(name, str(error))
        return values

    def payload(self) -> Any:
        """The payload as plain JSON values; for a valid form only."""
        if PREFIX in self.payload_fields:
            return self.cleaned_data[PREFIX]
        payload: dict[str, Any] = {}
        for group in self.groups:
            values = {
                each.path[-1]: value
                for each in group.fields
                if each.path and (value := self.cleaned_data[name_of(each)]) is not MISSING
            }
            if not group.path:
                payload.update(values)
            elif values or group.is_required:
                payload[group.path[-1]] = values
        return payload

    def add_payload_errors(self, errors: Iterable[FieldError]) -> None:
        for error in errors:
            name = self.field_at(error.pointer)
            if name is None:
                place = f"{error.pointer.lstrip('/')}: " if error.pointer else ""
                self.add_error(None, f"{place}{error.detail}")
            else:
                rest = error.pointer.removeprefix(self.payload_fields[name].pointer).lstrip("/")
                self.add_error(name, f"{rest}: {error.detail}" if rest else error.detail)

    def field_at(self, pointer: str) -> str | None:
        """The name of the innermost field that contains a JSON pointer."""
        names = [
            name
            for name, each in self.payload_fields.items()
            if pointer == each.pointer or pointer.startswith(f"{each.pointer}/")
        ]
        return max(names, key=len, default=None)

    def sections(self) -> Iterator[Section]:
        for group in self.groups:
            rows = [(self[name_of(each)], schema_text(each)) for each in group.fields]
            if rows:
                yield Section(group.title, group.description, rows)

    @property
    def options(self) -> list[Any]:
        return [self[name] for name in self.OPTIONS]

    @property
    def has_options(self) -> bool:
        """Whether an option is filled in or has an error, so that the options must be visible."""
        return any(self[name].errors or self[name].value() not in (None, "", "0", False) for name in self.OPTIONS)


def name_of(schema_field: SchemaField) -> str:
    return f"{PREFIX}{schema_field.pointer}"


def form_field(schema_field: SchemaField) -> forms.Field:
    """A form field that keeps everything that is typed. None is required here: the model checks that."""
    hint = HINTS.get(schema_field.kind, "")
    common: dict[str, Any] = {
        "required": False,
        "label": schema_field.title,
        # Django renders a help text as HTML, and this one comes from the schema.
        "help_text": format_html("{}", " ".join(filter(None, [schema_field.help, hint]))),
        "initial": initial_text(schema_field),
    }
    if schema_field.kind is Kind.BOOLEAN:
        return forms.BooleanField(**{**common, "initial": bool(schema_field.initial)})
    if schema_field.kind is Kind.CHOICE:
        choices = [(label, label) for label in schema_field.choices]
        is_set = schema_field.is_required and schema_field.empty_value is MISSING and schema_field.initial is not None
        return forms.ChoiceField(**common, choices=choices if is_set else [("", "\N{EN DASH}"), *choices])
    return forms.CharField(**common, strip=False, widget=widget_for(schema_field))


def widget_for(schema_field: SchemaField) -> forms.Widget:
    """A line or a box. Never a number input: browsers drop what is not a number."""
    required = {"aria-required": "true"} if schema_field.is_required else {}
    unseen = " tq-unseen" if schema_field.is_secret else ""
    if schema_field.kind is Kind.JSON:
        return forms.Textarea(attrs={"rows": 4, "class": f"tq-json-box{unseen}", "spellcheck": "false", **required})
    if schema_field.kind is Kind.LINES:
        return forms.Textarea(attrs={"rows": 4, "class": unseen.strip(), "spellcheck": "false", **required})
    if schema_field.is_secret:
        # A form with errors comes back with the typed secret, like every other field; admin pages are not stored.
        return forms.PasswordInput(render_value=True, attrs={"autocomplete": "new-password", **required})
    if mode := INPUT_MODES.get(schema_field.kind):
        required["inputmode"] = mode
    return forms.TextInput(attrs={"autocomplete": "off", **required})


def initial_text(schema_field: SchemaField) -> str:
    initial = schema_field.initial
    if initial is None:
        return ""
    if schema_field.kind is Kind.JSON:
        return json.dumps(initial, indent=2, ensure_ascii=False)
    if schema_field.kind is Kind.CHOICE:
        return next((label for label, value in schema_field.choices.items() if value == initial), "")
    return initial if isinstance(initial, str) else json.dumps(initial, ensure_ascii=False)


def value_of(schema_field: SchemaField, typed: Any) -> Any:
    """The typed text as JSON; the text if it is not of the field's kind. ValueError: a JSON field has no JSON."""
    if schema_field.kind is Kind.BOOLEAN:
        return bool(typed)
    text = str(typed).replace("\r\n", "\n")
    if schema_field.kind in {Kind.TEXT, Kind.LINES}:
        return text or schema_field.empty_value
    if not text.strip():
        return schema_field.empty_value
    if schema_field.kind is Kind.CHOICE:
        return schema_field.choices[text]
    return parse_json(text) if schema_field.kind is Kind.JSON else scalar(schema_field.kind, text.strip())


def scalar(kind: Kind, text: str) -> Any:
    """A number, or a duration in seconds; the text itself when it is neither."""
    if kind is Kind.INTEGER:
        return int(text) if INTEGER.fullmatch(text) and len(text) < MOST_DIGITS else text
    if kind is Kind.DURATION:
        seconds = seconds_in(text)
        return text if seconds is None else seconds
    if kind is Kind.NUMBER:
        try:
            return float(text) if not INTEGER.fullmatch(text) else int(text)
        except ValueError:
            return text
    return text


def schema_text(schema_field: SchemaField) -> str:
    is_json = schema_field.kind is Kind.JSON
    return json.dumps(schema_field.schema, indent=2, ensure_ascii=False) if is_json else ""
