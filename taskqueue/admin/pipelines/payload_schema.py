"""A payload's JSON schema as a flat list of what a form can ask for. No Django here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from taskqueue import masks
from taskqueue.admin.shared.secret_fields import without_secrets
from taskqueue.codec import escape

LONG_TEXT: Final = 200
"""A text that may be longer than this gets several lines."""
DEEPEST_REFERENCE: Final = 20
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
    """How a value is asked for."""

    TEXT = "text"
    LINES = "lines"
    WHOLE = "whole"
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"
    DATE = "date"
    MOMENT = "moment"
    TIME = "time"
    DURATION = "duration"
    JSON = "json"


FORMATS: Final = {
    "date": Kind.DATE,
    "date-time": Kind.MOMENT,
    "time": Kind.TIME,
    "duration": Kind.DURATION,
}
TYPES: Final = {"string": Kind.TEXT, "integer": Kind.WHOLE, "number": Kind.NUMBER, "boolean": Kind.SWITCH}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One value of a payload.

    Attributes:
        path: where it is; empty for the whole payload.
        choices: what it may be, by the words that are shown.
        initial: an example or the default; None when there is neither.
        blank: what stands for an empty field; MISSING when the value is left out then.
        is_secret: it is typed unseen, and has no initial value.
    """

    path: tuple[str, ...]
    kind: Kind
    title: str
    schema: Mapping[str, Any]
    is_required: bool = False
    choices: Mapping[str, Any] = field(default_factory=dict)
    initial: Any = None
    blank: Any = None
    is_secret: bool = False

    @property
    def pointer(self) -> str:
        """Its JSON pointer."""
        return pointer_to(self.path)

    @property
    def help(self) -> str:
        """What it means and what it takes."""
        given = [(words, self.schema[name]) for name, words in BOUNDS.items() if name in self.schema]
        bounds = [words.format(value, "" if value == 1 else "s") for words, value in given]
        limits = f"{', '.join(bounds)}." if bounds else ""
        needed = "Required." if self.is_required and self.path else ""
        kept = "Secret. Leave empty for the default." if self.is_secret and not needed else "Secret." * self.is_secret
        said = self.schema.get("description", "")
        return " ".join(filter(None, [needed, kept, said, limits[:1].upper() + limits[1:]]))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Values that belong together: those of the payload itself, or those of an object in it."""

    path: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    is_required: bool = True
    entries: tuple[Entry, ...] = ()


class Missing:
    """The value of a field that was left empty, and is left out of the payload."""


MISSING: Final = Missing()


def groups_of(schema: Mapping[str, Any], example: object = None) -> list[Group]:
    """What a payload of this schema is made of: its own values first, then its objects.

    Args:
        schema: as pydantic makes it.
        example: a payload; its values are the initial ones.
    """
    return Reader(schema.get("$defs", {})).groups(schema, example)


@dataclass(frozen=True)
class Reader:
    """Reads one schema, with the definitions that it refers to."""

    definitions: Mapping[str, Any]

    def groups(self, schema: Mapping[str, Any], example: object) -> list[Group]:
        """All groups of a payload."""
        root = self.resolved(schema)
        if root.get("type") != "object" or ("properties" not in root and root.get("additionalProperties", True)):
            return [Group(entries=(self.whole(root, example),))]
        own: list[Entry] = []
        nested: list[Group] = []
        for name, plain, is_required in properties_of(root):
            inner = self.resolved(plain)
            given = initial_of(name, inner, example)
            if self.is_object(inner):
                nested.append(self.group((name,), inner, given, is_required=is_required))
            else:
                own.append(self.entry((name,), inner, given, is_required=is_required))
        return [Group(entries=tuple(own)), *nested] if own or not nested else nested

    def group(self, path: tuple[str, ...], schema: Mapping[str, Any], given: object, *, is_required: bool) -> Group:
        """An object one level deep; what lies deeper is JSON."""
        is_secret = self.is_secret(schema)
        entries = tuple(
            self.entry((*path, name), inner, initial_of(name, inner, given), is_required=needed, is_secret=is_secret)
            for name, plain, needed in properties_of(schema)
            for inner in [self.resolved(plain)]
        )
        return Group(
            path=path,
            title=titled(path, schema),
            description=schema.get("description", ""),
            is_required=is_required,
            entries=entries,
        )

    def entry(
        self,
        path: tuple[str, ...],
        schema: Mapping[str, Any],
        given: object,
        *,
        is_required: bool,
        is_secret: bool = False,
    ) -> Entry:
        """One value."""
        is_secret = is_secret or self.is_secret(schema)
        given = None if is_secret else without_secrets(given, self.rooted(schema))
        core, is_nullable = self.without_null(schema)
        kind, choices = self.kind_of(core, given)
        if kind is Kind.SWITCH and (is_nullable or is_secret):
            kind, choices = Kind.CHOICE, {"yes": True, "no": False}
        return Entry(
            path=path,
            kind=kind,
            title=titled(path, {**core, **schema}),
            schema=self.shown({**core, **schema} if "anyOf" not in core else schema),
            is_required=is_required,
            choices=choices,
            initial=given,
            blank=blank_of(schema, Kind.JSON if is_secret else kind, is_required=is_required, is_nullable=is_nullable),
            is_secret=is_secret,
        )

    def whole(self, schema: Mapping[str, Any], example: object) -> Entry:
        """The payload in one piece."""
        return Entry(
            path=(),
            kind=Kind.JSON,
            title=schema.get("title", "Payload"),
            schema=self.shown(schema),
            is_required=True,
            initial=without_secrets(example, self.rooted(schema)),
            blank=MISSING,
            is_secret=self.is_secret(schema),
        )

    def is_secret(self, schema: Mapping[str, Any]) -> bool:
        """Whether the value is a secret as a whole, in one of the forms that it may have."""
        return any(masks.is_secret(place) for place, _root in masks.all_places([(schema, self.rooted(schema))]))

    def shown(self, schema: Mapping[str, Any]) -> Any:
        """The schema for people; without values if it, or what it refers to, has secrets."""
        return without_values(schema) if masks.marks_secrets(self.rooted(schema)) else schema

    def rooted(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """A part of the schema with the definitions that it refers to."""
        return {**schema, "$defs": self.definitions}

    def kind_of(self, schema: Mapping[str, Any], given: object) -> tuple[Kind, dict[str, Any]]:
        """How to ask for a value, and what to choose from."""
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
        long = schema.get("maxLength", 0) > LONG_TEXT or "\n" in str(given or "")
        return (Kind.LINES if kind is Kind.TEXT and long else kind), {}

    def without_null(self, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """A schema that may also be null without that, and whether it may."""
        variants = [self.resolved(variant) for variant in schema.get("anyOf", [])]
        others = [variant for variant in variants if variant.get("type") != "null"]
        if len(others) == len(variants):
            return schema, False
        if len(others) == 1 and not self.is_object(others[0]):
            return others[0], True
        return {"anyOf": others}, True

    def is_object(self, schema: Mapping[str, Any]) -> bool:
        """Whether it is an object of known values, which can be asked for one by one."""
        return schema.get("type") == "object" and bool(schema.get("properties"))

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema that a reference leads to; what stands beside the reference goes before."""
        for _ in range(DEEPEST_REFERENCE):
            if "$ref" not in schema:
                break
            beside = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**self.definitions.get(str(schema["$ref"]).removeprefix("#/$defs/"), {}), **beside}
        return schema


def properties_of(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """The values of an object: name, schema, and whether it is required."""
    required = schema.get("required", [])
    for name, inner in schema.get("properties", {}).items():
        yield name, inner, name in required


def initial_of(name: str, schema: Mapping[str, Any], example: object) -> Any:
    """What a value might be: as in the example, else its own example, else its default."""
    if isinstance(example, Mapping) and name in example:
        return example[name]
    examples = schema.get("examples")
    return examples[0] if isinstance(examples, list) and examples else schema.get("default")


def blank_of(schema: Mapping[str, Any], kind: Kind, *, is_required: bool, is_nullable: bool) -> Any:
    """What an empty field stands for. Without a better meaning the value is left out, and the model has its say."""
    if is_nullable and (is_required or "default" in schema):
        return None
    if kind in {Kind.TEXT, Kind.LINES} and (is_required or isinstance(schema.get("default"), str)):
        return ""
    return MISSING


def without_values(schema: Any) -> Any:
    """A schema without the values that it tells."""
    if isinstance(schema, Mapping):
        return {name: without_values(inner) for name, inner in schema.items() if name not in {"default", "examples"}}
    return [without_values(inner) for inner in schema] if isinstance(schema, list) else schema


def is_decimal(schema: Mapping[str, Any]) -> bool:
    """Whether it is an exact number: pydantic takes it as a text, and JSON numbers might lose digits."""
    kinds = [variant.get("type") for variant in schema.get("anyOf", [])]
    return sorted(filter(None, kinds)) == ["number", "string"]


def titled(path: tuple[str, ...], schema: Mapping[str, Any]) -> str:
    """The name that people see: as in the code, in words."""
    name = path[-1] if path else str(schema.get("title", ""))
    return re.sub(r"[_\-\s]+", " ", name).strip().capitalize() or name


def pointer_to(path: tuple[str, ...]) -> str:
    """A JSON pointer."""
    return "".join(f"/{escape(part)}" for part in path)
