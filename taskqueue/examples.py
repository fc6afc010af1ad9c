"""Examples of a payload, made from its JSON schema and checked by its model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskqueue.masks import Schema, definition_at, is_secret

DEEPEST: Final = 12
"""Where recursive models end."""
TEXTS: Final = {
    "date-time": "2030-01-31T08:00:00Z",
    "date": "2030-01-31",
    "time": "08:00:00Z",
    "duration": "PT15M",
    "uuid": "0192d5a0-0000-7000-8000-000000000000",
    "email": "user@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "json-string": "{}",
}
MISSING: Final = object()


def first_that_passes(check: Callable[[Any], object], schema: Schema) -> Any:
    """The first candidate that `check` accepts, or None."""
    for candidate in candidates(schema):
        try:
            check(candidate)
        except Exception:  # noqa: BLE001, S112 - runs the author's validators
            continue
        return candidate
    return None


def candidates(schema: Schema) -> Iterator[Any]:
    """The schema's own examples, then one with all fields that have an example or default, then the smallest one."""
    yield from schema.get("examples", ())
    schema = {name: value for name, value in schema.items() if name != "examples"}
    yield ExampleBuilder(schema, with_optional=True).value(schema)
    yield ExampleBuilder(schema, with_optional=False).value(schema)


@dataclass(frozen=True)
class ExampleBuilder:
    """Builds values for schemas. Secrets get a placeholder, even if they have a default.

    Attributes:
        root: the schema that references point into.
        with_optional: whether to include optional fields that have an example or a default.
    """

    root: Schema
    with_optional: bool

    def value(self, schema: Schema, depth: int = 0) -> Any:
        """A value for a schema at this depth."""
        if depth > DEEPEST:
            return None
        if isinstance(reference := schema.get("$ref"), str):
            own = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**definition_at(self.root, reference), **own}
        if is_secret(schema):
            return text_value({**schema, "format": ""}, word="secret")
        if (given := given_value(schema)) is not MISSING:
            return given
        if (alternative := alternative_of(schema)) is not None:
            return self.value(alternative, depth + 1)
        if "properties" in schema or schema.get("type") == "object":
            return self.members(schema, depth)
        return self.elements(schema, depth) if schema.get("type") == "array" else scalar(schema)

    def members(self, schema: Schema, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            name: self.value(member, depth + 1)
            for name, member in schema.get("properties", {}).items()
            if name in required or (self.with_optional and given_value(member) is not MISSING and not is_secret(member))
        }

    def elements(self, schema: Schema, depth: int) -> list[Any]:
        """The shortest list that is not empty."""
        first = [self.value(each, depth + 1) for each in schema.get("prefixItems", ())]
        items = schema.get("items")
        if isinstance(items, Mapping) and not first:
            first = [self.value(items, depth + 1)] * max(1, schema.get("minItems", 1))
        return first


def given_value(schema: Schema) -> Any:
    """The value in the schema itself: an example, a default, a constant, or MISSING."""
    if schema.get("examples"):
        return schema["examples"][0]
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    return schema["enum"][0] if schema.get("enum") else MISSING


def alternative_of(schema: Schema) -> Schema | None:
    """The first of the schema's alternatives, null last; None without any."""
    alternatives = [
        each for name in ("anyOf", "oneOf", "allOf") for each in schema.get(name, ()) if isinstance(each, Mapping)
    ]
    return min(alternatives, key=lambda each: each.get("type") == "null", default=None)


def scalar(schema: Schema) -> Any:
    kind = schema.get("type", "string")
    if kind == "string":
        return text_value(schema, word="string")
    if kind in ("integer", "number"):
        return number_value(schema)
    return {"boolean": False}.get(kind)


def text_value(schema: Schema, *, word: str) -> str:
    text = TEXTS.get(schema.get("format", ""), word)
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def number_value(schema: Schema) -> Any:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema["type"] == "number" and above is not None and below is not None:
        return (above + below) / 2
    most = schema.get("maximum", math.inf if below is None else below - 1)
    least = schema.get("minimum", min(1, most) if above is None else above + 1)
    step = schema.get("multipleOf")
    return math.ceil(least / step) * step if step else least
