"""Examples of a payload, made from its JSON schema. The model judges whether one will do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskqueue.masks import Schema, definition_at, is_secret

DEEPEST: Final = 12
"""A model that holds itself is followed no further."""
TEXTS: Final = {
    "date-time": "2030-01-31T08:00:00Z",
    "date": "2030-01-31",
    "time": "08:00:00Z",
    "duration": "PT15M",
    "uuid": "0192d5a0-0000-7000-8000-000000000000",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "json-string": "{}",
}
MISSING: Final = object()


def first_that_passes(check: Callable[[Any], object], schema: Schema) -> Any:
    """The first candidate that is not refused; None if all are."""
    for candidate in candidates(schema):
        try:
            check(candidate)
        except Exception:  # noqa: BLE001, S112 - checking runs the author's validators
            continue
        return candidate
    return None


def candidates(schema: Schema) -> Iterator[Any]:
    """Examples to be tried: the model's own, one with every field that has a value of its own, the smallest one."""
    yield from schema.get("examples", ())
    schema = {name: value for name, value in schema.items() if name != "examples"}
    yield Maker(schema, with_optional=True).value(schema)
    yield Maker(schema, with_optional=False).value(schema)


@dataclass(frozen=True)
class Maker:
    """Makes values that fit schemas, as far as that can be told. A secret is never shown, not even a default.

    Attributes:
        root: the schema within which references lead on.
        with_optional: also the fields that may be left out, if they have an example or a default.
    """

    root: Schema
    with_optional: bool

    def value(self, schema: Schema, depth: int = 0) -> Any:
        """A value for a schema that is nested so deep."""
        if depth > DEEPEST:
            return None
        if isinstance(reference := schema.get("$ref"), str):
            own = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**definition_at(self.root, reference), **own}
        if is_secret(schema):
            return made_text({**schema, "format": ""}, word="secret")
        if (told := told_by(schema)) is not MISSING:
            return told
        if (branch := branch_of(schema)) is not None:
            return self.value(branch, depth + 1)
        if "properties" in schema or schema.get("type") == "object":
            return self.members(schema, depth)
        return self.elements(schema, depth) if schema.get("type") == "array" else made_scalar(schema)

    def members(self, schema: Schema, depth: int) -> dict[str, Any]:
        """An object."""
        required = schema.get("required", ())
        return {
            name: self.value(member, depth + 1)
            for name, member in schema.get("properties", {}).items()
            if name in required or (self.with_optional and told_by(member) is not MISSING and not is_secret(member))
        }

    def elements(self, schema: Schema, depth: int) -> list[Any]:
        """A list: as short as it may be, but not empty."""
        first = [self.value(each, depth + 1) for each in schema.get("prefixItems", ())]
        items = schema.get("items")
        if isinstance(items, Mapping) and not first:
            first = [self.value(items, depth + 1)] * max(1, schema.get("minItems", 1))
        return first


def told_by(schema: Schema) -> Any:
    """The value that the schema itself gives as an example, or MISSING."""
    if schema.get("examples"):
        return schema["examples"][0]
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    return schema["enum"][0] if schema.get("enum") else MISSING


def branch_of(schema: Schema) -> Schema | None:
    """The first of several schemas of which one has to fit, null last; None without any."""
    branches = [
        each for name in ("anyOf", "oneOf", "allOf") for each in schema.get(name, ()) if isinstance(each, Mapping)
    ]
    return min(branches, key=lambda each: each.get("type") == "null", default=None)


def made_scalar(schema: Schema) -> Any:
    """A text, a number or the like."""
    kind = schema.get("type", "string")
    if kind == "string":
        return made_text(schema, word="string")
    if kind in ("integer", "number"):
        return made_number(schema)
    return {"boolean": False}.get(kind)


def made_text(schema: Schema, *, word: str) -> str:
    """A text of the right length or format."""
    text = TEXTS.get(schema.get("format", ""), word)
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def made_number(schema: Schema) -> Any:
    """A number within its bounds."""
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema["type"] == "number" and above is not None and below is not None:
        return (above + below) / 2
    most = schema.get("maximum", math.inf if below is None else below - 1)
    least = schema.get("minimum", min(1, most) if above is None else above + 1)
    step = schema.get("multipleOf")
    return math.ceil(least / step) * step if step else least
