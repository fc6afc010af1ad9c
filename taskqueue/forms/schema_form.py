"""A form whose fields are made from a JSON schema.

The model behind the schema alone validates the values. The form converts texts to JSON values where it can and passes
on all others unchanged, so that the error message comes from the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.utils.datastructures import MultiValueDict
from django.utils.html import format_html

from taskqueue.errors import FieldError
from taskqueue.forms.form_values import parse_json, seconds_in
from taskqueue.forms.payload_schema import MISSING, Kind, SchemaField, groups_of

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


class SchemaForm(forms.Form):
    """A form for one value: `payload()` has it once the form is valid.

    Args:
        schema: the JSON schema of the value.
        example: the initial values; None for those of the schema.
        data: what was sent; None for a new form.
        fixed: the values by name that the form shows, and that no user can change.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        example: object,
        data: MultiValueDict[str, str] | None = None,
        *,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data)
        self.groups = groups_of(schema, example)
        self.payload_fields = {name_of(each): each for group in self.groups for each in group.fields}
        for name, schema_field in self.payload_fields.items():
            self.fields[name] = form_field(schema_field)
            if schema_field.path and schema_field.path[0] in (fixed or {}):
                self.fields[name].disabled = True
                self.fields[name].help_text = format_html("{}", schema_field.schema.get("description", ""))

    def clean(self) -> dict[str, Any]:
        """Check that JSON fields hold JSON."""
        values: dict[str, Any] = super().clean() or {}
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
