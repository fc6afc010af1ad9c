"""Turns the JSON schema of a payload into a flat list of form fields. No Django here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from taskqueue import masks
from taskqueue.forms.form_secrets import without_secrets
from taskqueue.json_pointers import pointer_to

LONG_TEXT: Final = 200
"""A text that may be longer gets a field of several lines."""
MOST_REFERENCES: Final = 20
BOUNDS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} character{}",
    "maxLength": "at most {} character{}",
    "pattern": "must match {}",
}


class Kind(StrEnum):
    TEXT = "text"
    LINES = "lines"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    DURATION = "duration"
    JSON = "json"


FORMATS: Final = {
    "date": Kind.DATE,
    "date-time": Kind.DATETIME,
    "time": Kind.TIME,
    "duration": Kind.DURATION,
}
TYPES: Final = {"string": Kind.TEXT, "integer": Kind.INTEGER, "number": Kind.NUMBER, "boolean": Kind.BOOLEAN}


class Missing:
    """The value of an empty field that is left out of the payload."""


MISSING: Final = Missing()


@dataclass(frozen=True, kw_only=True)
class SchemaField:
    """One value of a payload.

    Attributes:
        path: its place in the payload; empty for the whole payload.
        choices: the allowed values by their labels.
        initial: an example or the default; None without either.
        empty_value: what an empty field stands for; MISSING when the value is left out.
        is_secret: whether it is typed invisibly and has no initial value.
    """

    path: tuple[str, ...]
    kind: Kind
    title: str
    schema: Mapping[str, Any]
    is_required: bool = False
    choices: Mapping[str, Any] = field(default_factory=dict)
    initial: Any = None
    empty_value: Any = None
    is_secret: bool = False

    @property
    def pointer(self) -> str:
        return pointer_to(self.path)

    @property
    def help(self) -> str:
        bounds = [
            text.format(self.schema[name], "" if self.schema[name] == 1 else "s")
            for name, text in BOUNDS.items()
            if name in self.schema
        ]
        limits = f"{', '.join(bounds)}." if bounds else ""
        required = "Required." if self.is_required and self.path else ""
        secret = (
            "Secret. Leave empty for the default." if self.is_secret and not required else "Secret." * self.is_secret
        )
        description = self.schema.get("description", "")
        return " ".join(filter(None, [required, secret, description, limits[:1].upper() + limits[1:]]))


@dataclass(frozen=True, kw_only=True)
class FieldGroup:
    """The fields of the payload itself, or of an object in it."""

    path: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    is_required: bool = True
    fields: tuple[SchemaField, ...] = ()


def groups_of(schema: Mapping[str, Any], example: object = None) -> list[FieldGroup]:
    """The fields of a payload: its own values first, then a group for each object. The example gives initial values."""
    return SchemaReader(schema.get("$defs", {})).groups(schema, example)


@dataclass(frozen=True)
class SchemaReader:
    """Reads a schema; `definitions` are its `$defs`."""

    definitions: Mapping[str, Any]

    def groups(self, schema: Mapping[str, Any], example: object) -> list[FieldGroup]:
        root = self.resolved(schema)
        if root.get("type") != "object" or ("properties" not in root and root.get("additionalProperties", True)):
            return [FieldGroup(fields=(self.whole_payload(root, example),))]
        own: list[SchemaField] = []
        nested: list[FieldGroup] = []
        for name, reference, is_required in properties_of(root):
            inner = self.resolved(reference)
            initial = initial_of(name, inner, example)
            if self.is_object(inner):
                nested.append(self.group((name,), inner, initial, is_required=is_required))
            else:
                own.append(self.field((name,), inner, initial, is_required=is_required))
        return [FieldGroup(fields=tuple(own)), *nested] if own or not nested else nested

    def group(
        self, path: tuple[str, ...], schema: Mapping[str, Any], initial: object, *, is_required: bool
    ) -> FieldGroup:
        """An object of the payload. Objects inside it are JSON fields."""
        is_secret = self.is_secret(schema)
        fields = tuple(
            self.field((*path, name), inner, initial_of(name, inner, initial), is_required=needed, is_secret=is_secret)
            for name, reference, needed in properties_of(schema)
            for inner in [self.resolved(reference)]
        )
        return FieldGroup(
            path=path,
            title=title_of(path, schema),
            description=schema.get("description", ""),
            is_required=is_required,
            fields=fields,
        )

    def field(
        self,
        path: tuple[str, ...],
        schema: Mapping[str, Any],
        initial: object,
        *,
        is_required: bool,
        is_secret: bool = False,
    ) -> SchemaField:
        is_secret = is_secret or self.is_secret(schema)
        initial = None if is_secret else without_secrets(initial, self.with_definitions(schema))
        core, is_nullable = self.without_null(schema)
        kind, choices = self.kind_of(core, initial)
        if kind is Kind.BOOLEAN and (is_nullable or is_secret):
            kind, choices = Kind.CHOICE, {"yes": True, "no": False}
        empty_kind = Kind.JSON if is_secret else kind
        return SchemaField(
            path=path,
            kind=kind,
            title=title_of(path, {**core, **schema}),
            schema=self.without_secret_values({**core, **schema} if "anyOf" not in core else schema),
            is_required=is_required,
            choices=choices,
            initial=initial,
            empty_value=empty_value_of(schema, empty_kind, is_required=is_required, is_nullable=is_nullable),
            is_secret=is_secret,
        )

    def whole_payload(self, schema: Mapping[str, Any], example: object) -> SchemaField:
        return SchemaField(
            path=(),
            kind=Kind.JSON,
            title=schema.get("title", "Payload"),
            schema=self.without_secret_values(schema),
            is_required=True,
            initial=without_secrets(example, self.with_definitions(schema)),
            empty_value=MISSING,
            is_secret=self.is_secret(schema),
        )

    def is_secret(self, schema: Mapping[str, Any]) -> bool:
        """Whether the whole value is a secret, in one of the forms that the schema allows."""
        places = masks.all_schemas([(schema, self.with_definitions(schema))])
        return any(masks.is_secret(part) for part, _root in places)

    def without_secret_values(self, schema: Mapping[str, Any]) -> Any:
        """The schema to show; without defaults and examples when it has secrets."""
        return without_values(schema) if masks.marks_secrets(self.with_definitions(schema)) else schema

    def with_definitions(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**schema, "$defs": self.definitions}

    def kind_of(self, schema: Mapping[str, Any], initial: object) -> tuple[Kind, dict[str, Any]]:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values:
            return Kind.CHOICE, {value if isinstance(value, str) else json.dumps(value): value for value in values}
        if is_decimal(schema):
            return Kind.TEXT, {}
        name = schema.get("type")
        if not isinstance(name, str) or name not in TYPES:
            return Kind.JSON, {}
        if name != "string":
            return TYPES[name], {}
        kind = FORMATS.get(schema.get("format", ""), Kind.TEXT)
        is_long = schema.get("maxLength", 0) > LONG_TEXT or "\n" in str(initial or "")
        return (Kind.LINES if kind is Kind.TEXT and is_long else kind), {}

    def without_null(self, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        variants = [self.resolved(variant) for variant in schema.get("anyOf", [])]
        others = [variant for variant in variants if variant.get("type") != "null"]
        if len(others) == len(variants):
            return schema, False
        if len(others) == 1 and not self.is_object(others[0]):
            return others[0], True
        return {"anyOf": others}, True

    def is_object(self, schema: Mapping[str, Any]) -> bool:
        """Whether it is an object with declared properties, so that each can have a field."""
        return schema.get("type") == "object" and bool(schema.get("properties"))

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema behind a reference; keywords next to the reference take precedence."""
        for _ in range(MOST_REFERENCES):  # a schema may refer to itself
            if "$ref" not in schema:
                break
            siblings = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**self.definitions.get(str(schema["$ref"]).removeprefix("#/$defs/"), {}), **siblings}
        return schema


def properties_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = schema.get("required", [])
    for name, inner in schema.get("properties", {}).items():
        yield name, inner, name in required


def initial_of(name: str, schema: Mapping[str, Any], example: object) -> Any:
    """The value of the payload's example, else the schema's first example, else the default."""
    if isinstance(example, Mapping) and name in example:
        return example[name]
    examples = schema.get("examples")
    return examples[0] if isinstance(examples, list) and examples else schema.get("default")


def empty_value_of(schema: Mapping[str, Any], kind: Kind, *, is_required: bool, is_nullable: bool) -> Any:
    """What an empty field stands for: null, an empty text, or MISSING, which leaves the decision to the model."""
    if is_nullable and (is_required or "default" in schema):
        return None
    if kind in {Kind.TEXT, Kind.LINES} and (is_required or isinstance(schema.get("default"), str)):
        return ""
    return MISSING


def without_values(schema: Any) -> Any:
    """A schema without defaults and examples, at every level."""
    if isinstance(schema, Mapping):
        return {name: without_values(inner) for name, inner in schema.items() if name not in {"default", "examples"}}
    return [without_values(inner) for inner in schema] if isinstance(schema, list) else schema


def is_decimal(schema: Mapping[str, Any]) -> bool:
    """Whether it is a Decimal: pydantic accepts it as text, since JSON numbers may lose digits."""
    kinds = [variant.get("type") for variant in schema.get("anyOf", [])]
    return sorted(filter(None, kinds)) == ["number", "string"]


def title_of(path: tuple[str, ...], schema: Mapping[str, Any]) -> str:
    name = path[-1] if path else str(schema.get("title", ""))
    return re.sub(r"[_\-\s]+", " ", name).strip().capitalize() or name
