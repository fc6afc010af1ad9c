"""The form by which people submit a task: its fields are made from the payload's JSON schema.

The model alone judges what was typed. The form turns texts into JSON values where it can, and leaves those that it
cannot turn as they are: then the model says what is wrong with them.
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

from taskqueue.admin.pipelines.payload_schema import MISSING, Entry, Kind, groups_of
from taskqueue.admin.shared.durations import seconds_in
from taskqueue.admin.shared.json_input import read
from taskqueue.errors import FieldError
from taskqueue.models.task import PRIORITY_LIMIT

PREFIX: Final = "payload"
WHOLE: Final = re.compile(r"[+-]?\d+")
HINTS: Final = {
    Kind.DATE: "A date, such as 2030-01-31.",
    Kind.MOMENT: "A time with its offset, such as 2030-01-31T08:00:00Z.",
    Kind.TIME: "A time of day, such as 08:30.",
    Kind.DURATION: "Seconds, or such as 1h 30m or PT1H30M.",
    Kind.JSON: "JSON.",
}
INPUT_MODES: Final = {Kind.WHOLE: "numeric", Kind.NUMBER: "decimal"}


@dataclass(frozen=True)
class Section:
    """Fields under one heading."""

    title: str
    description: str
    rows: list[tuple[Any, str]]
    """A bound field, and the JSON schema that is shown beside it, if it takes JSON."""


class SubmissionForm(forms.Form):
    """Payload and options of a new task."""

    key = forms.CharField(
        required=False,
        label="Key",
        help_text="The idempotency key: the same one again finds the task that it made instead of making another.",
    )
    force = forms.BooleanField(
        required=False,
        label="Make a new task although the key is taken",
        help_text="The key then stands for the new one.",
    )
    priority = forms.CharField(
        required=False,
        initial="0",
        label="Priority",
        help_text=f"Seconds by which it goes before tasks of the same age, from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}.",
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
        help_text="One on each line: name = value.",
    )
    OPTIONS = ("key", "force", "priority", "delay", "run_at", "labels")

    def __init__(
        self, schema: Mapping[str, Any], example: object, data: MultiValueDict[str, str] | None = None
    ) -> None:
        super().__init__(data)
        self.groups = groups_of(schema, example)
        self.entries = {name_of(entry): entry for group in self.groups for entry in group.entries}
        for name, entry in self.entries.items():
            self.fields[name] = field_for(entry)

    def clean_priority(self) -> int:
        """A whole number; the engine has its bounds."""
        text = self.cleaned_data["priority"].strip() or "0"
        if not WHOLE.fullmatch(text) or len(text) >= 1000:
            raise ValidationError("The priority is a whole number.")
        return int(text)

    def clean_delay(self) -> timedelta | None:
        """A length of time."""
        text = self.cleaned_data["delay"].strip()
        seconds = seconds_in(text) if text else 0
        if seconds is None or seconds > timedelta.max.total_seconds() / 1000:
            raise ValidationError("Write seconds, or a length such as 15m or 2h 30m.")
        return timedelta(seconds=seconds) if text else None

    def clean_run_at(self) -> datetime | None:
        """A moment."""
        text = self.cleaned_data["run_at"].strip()
        if not text:
            return None
        try:
            moment = parse_datetime(text)
        except ValueError as error:
            raise ValidationError(f"There is no such time: {error}.") from error
        if moment is None:
            raise ValidationError("Write a time such as 2030-01-31 08:00.")
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def clean_labels(self) -> dict[str, str]:
        """Names and values."""
        labels = {}
        for line in filter(str.strip, self.cleaned_data["labels"].splitlines()):
            name, found, value = line.partition("=")
            if not found or not name.strip():
                raise ValidationError(f"“{line.strip()}” is not of the form name = value.")
            labels[name.strip()] = value.strip()
        return labels

    def clean(self) -> dict[str, Any]:
        """See that JSON is JSON, and that one time is given at most."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("delay") is not None and values.get("run_at") is not None:
            self.add_error("run_at", "Say either in how long it starts, or when.")
        for name, entry in self.entries.items():
            if name in values:
                try:
                    values[name] = value_of(entry, values[name])
                except ValueError as error:
                    self.add_error(name, str(error))
        return values

    def payload(self) -> Any:
        """The payload, as plain JSON values; after the form was found valid."""
        whole: dict[str, Any] = {}
        for group in self.groups:
            values = {
                entry.path[-1]: value
                for entry in group.entries
                if entry.path and (value := self.cleaned_data[name_of(entry)]) is not MISSING
            }
            if not group.path:
                whole.update(values)
            elif values or group.is_required:
                whole[group.path[-1]] = values
        single = self.entries.get(PREFIX)
        return whole if single is None else self.cleaned_data[PREFIX]

    def tell(self, faults: Iterable[FieldError]) -> None:
        """Put what the model says beside the fields that it speaks of."""
        for fault in faults:
            name = self.nearest(fault.pointer)
            if name is None:
                where = f"{fault.pointer.lstrip('/')}: " if fault.pointer else ""
                self.add_error(None, f"{where}{fault.detail}")
            else:
                rest = fault.pointer.removeprefix(self.entries[name].pointer).lstrip("/")
                self.add_error(name, f"{rest}: {fault.detail}" if rest else fault.detail)

    def tell_of_options(self, faults: Iterable[FieldError]) -> None:
        """The same for the options."""
        for fault in faults:
            name = fault.pointer.strip("/").split("/")[0]
            self.add_error(name if name in self.OPTIONS else None, fault.detail)

    def nearest(self, pointer: str) -> str | None:
        """The field that holds what a pointer points at."""
        holding = [
            name
            for name, entry in self.entries.items()
            if pointer == entry.pointer or pointer.startswith(f"{entry.pointer}/")
        ]
        return max(holding, key=len, default=None)

    def sections(self) -> Iterator[Section]:
        """The payload's fields, group by group."""
        for group in self.groups:
            rows = [(self[name_of(entry)], shown_schema(entry)) for entry in group.entries]
            if rows:
                yield Section(group.title, group.description, rows)

    @property
    def options(self) -> list[Any]:
        """The fields that every pipeline has."""
        return [self[name] for name in self.OPTIONS]

    @property
    def has_options(self) -> bool:
        """Whether one of them was used, so that they have to be seen."""
        return any(self[name].errors or self[name].value() not in (None, "", "0", False) for name in self.OPTIONS)


def name_of(entry: Entry) -> str:
    """The name of an entry's field."""
    return f"{PREFIX}{entry.pointer}"


def field_for(entry: Entry) -> forms.Field:
    """A field that loses nothing of what is typed. None is required here: the model says what it misses."""
    hint = HINTS.get(entry.kind, "")
    common: dict[str, Any] = {
        "required": False,
        "label": entry.title,
        # Django takes it for HTML, and it comes from elsewhere.
        "help_text": format_html("{}", " ".join(filter(None, [entry.help, hint]))),
        "initial": text_of(entry),
    }
    if entry.kind is Kind.SWITCH:
        return forms.BooleanField(**{**common, "initial": bool(entry.initial)})
    if entry.kind is Kind.CHOICE:
        choices = [(shown, shown) for shown in entry.choices]
        unset = (
            [] if entry.is_required and entry.blank is MISSING and entry.initial is not None else [("", "\N{EN DASH}")]
        )
        return forms.ChoiceField(**common, choices=[*unset, *choices])
    return forms.CharField(**common, strip=False, widget=widget_for(entry))


def widget_for(entry: Entry) -> forms.Widget:
    """A line or a box; never a number box, which would throw away what is no number."""
    needed = {"aria-required": "true"} if entry.is_required else {}
    unseen = " tq-unseen" if entry.is_secret else ""
    if entry.kind is Kind.JSON:
        return forms.Textarea(attrs={"rows": 4, "class": f"tq-json-box{unseen}", "spellcheck": "false", **needed})
    if entry.kind is Kind.LINES:
        return forms.Textarea(attrs={"rows": 4, "class": unseen.strip(), "spellcheck": "false", **needed})
    if entry.is_secret:
        # What was typed comes back with its mistakes, as in every other field; no admin page is stored.
        return forms.PasswordInput(render_value=True, attrs={"autocomplete": "new-password", **needed})
    if mode := INPUT_MODES.get(entry.kind):
        needed["inputmode"] = mode
    return forms.TextInput(attrs={"autocomplete": "off", **needed})


def text_of(entry: Entry) -> str:
    """The initial value as people would type it."""
    if entry.initial is None:
        return ""
    if entry.kind is Kind.JSON:
        return json.dumps(entry.initial, indent=2, ensure_ascii=False)
    if entry.kind is Kind.CHOICE:
        return next((shown for shown, value in entry.choices.items() if value == entry.initial), "")
    return entry.initial if isinstance(entry.initial, str) else json.dumps(entry.initial, ensure_ascii=False)


def value_of(entry: Entry, typed: Any) -> Any:
    """What was typed as a JSON value, or as it is when it is none of its kind.

    Raises:
        ValueError: it ought to be JSON and is not; in words for people.
    """
    if entry.kind is Kind.SWITCH:
        return bool(typed)
    text = str(typed).replace("\r\n", "\n")
    if entry.kind in {Kind.TEXT, Kind.LINES}:
        return text or entry.blank
    if not text.strip():
        return entry.blank
    if entry.kind is Kind.CHOICE:
        return entry.choices[text]
    return read(text) if entry.kind is Kind.JSON else simple(entry.kind, text.strip())


def simple(kind: Kind, text: str) -> Any:
    """A number, a time or a length as JSON has it; the text itself when it is none."""
    if kind is Kind.WHOLE:
        return int(text) if WHOLE.fullmatch(text) and len(text) < 1000 else text
    if kind is Kind.DURATION:
        seconds = seconds_in(text)
        return text if seconds is None else seconds
    if kind is Kind.NUMBER:
        try:
            return float(text) if not WHOLE.fullmatch(text) else int(text)
        except ValueError:
            return text
    return text


def shown_schema(entry: Entry) -> str:
    """The schema of what is typed as JSON."""
    return json.dumps(entry.schema, indent=2, ensure_ascii=False) if entry.kind is Kind.JSON else ""
