"""Masks: what a JSON schema marks as secret is found in a value, and hidden wherever its text comes up.

A field is secret when its schema says `"secret": true` (`Field(json_schema_extra={"secret": True})`) or
`"writeOnly": true`, which is what pydantic says of `SecretStr` and its like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from pydantic import PydanticUserError, SecretBytes, SecretStr

from taskqueue.errors import DefinitionError, FieldError, InvalidPayload

MASK: Final = "**********"
SHORTEST: Final = 6
"""A shorter secret is masked where it is marked, and nowhere else: it would be found in every other word."""
MARKS: Final = ("secret", "writeOnly")
BRANCHES: Final = ("anyOf", "oneOf", "allOf")
DEEPEST: Final = 200
"""Pydantic reads JSON that is nested no deeper; what is found further down is taken for secret as a whole."""
QUOTED_INPUT: Final = re.compile(r"input_value=.{0,500}?, input_type=", re.DOTALL)
"""What pydantic quotes of a value that does not fit, shortened in the middle so that no search would find it."""

SECRET: Final = object()

Schema = Mapping[str, Any]
Place = tuple[Schema, Schema]
"""A schema, and the root within which its references lead on."""

ALL_SECRET: Final[Schema] = {"secret": True}
"""For what has no schema: where it cannot be told what is secret, everything is."""


class Described:
    """What has a JSON schema, which tells what is secret in it."""

    make_schema: Callable[..., Schema]

    @cached_property
    def schema(self) -> Schema:
        """The schema."""
        return self.make_schema()

    @cached_property
    def has_secrets(self) -> bool:
        """Whether anything may be secret."""
        return marks_secrets(self.schema)

    @cached_property
    def marks(self) -> tuple[Schema, ...]:
        """What to look for secrets by: each name of a field, as it is read, as it is written, and its own."""
        if not self.has_secrets:
            return ()
        try:
            return self.schema, self.make_schema(mode="serialization"), self.make_schema(by_alias=False)
        except PydanticUserError:
            return (ALL_SECRET,)


def refuse_unmarked(function: Callable[..., Any], core_schema: object) -> None:
    """Refuse `Secret[…]`, whose JSON schema does not tell that it is one.

    Raises:
        DefinitionError
    """
    if "function _serialize_secret at " in repr(core_schema):
        raise DefinitionError(
            f"{function.__qualname__} has an annotation Secret[…], which would be stored as asterisks.",
            hint='Use SecretStr, or mark a plain field: Field(json_schema_extra={"secret": True}).',
        )


def revealed(plain: Any, dumped: Any) -> Any:
    """A JSON value with what pydantic has masked in it put back, from the same value dumped as Python objects.

    Both have one shape and one order, sets included, since both were made of the same objects.
    """
    if isinstance(dumped, SecretStr):
        return dumped.get_secret_value()
    if isinstance(dumped, SecretBytes):
        return dumped.get_secret_value().decode()
    if isinstance(plain, dict) and isinstance(dumped, Mapping):
        pairs = zip(plain.items(), dumped.values(), strict=True)
        return {name: revealed(item, other) for (name, item), other in pairs}
    if isinstance(plain, list) and isinstance(dumped, Collection) and not isinstance(dumped, str | bytes):
        return [revealed(item, other) for item, other in zip(plain, dumped, strict=True)]
    return plain


def marks_secrets(schema: Any) -> bool:
    """Whether a schema marks anything as secret."""
    if isinstance(schema, Mapping):
        return is_secret(schema) or any(map(marks_secrets, schema.values()))
    return isinstance(schema, list) and any(map(marks_secrets, schema))


def is_secret(schema: Schema) -> bool:
    """Whether a schema marks its whole value as secret."""
    return any(schema.get(mark) is True for mark in MARKS)


def masked(value: Any, *schemas: Schema) -> Any:
    """The value with a mask in the place of each secret: of what any of these schemas marks, for each may be meant."""
    return replaced(value, schemas, lambda _secret: MASK)


def refuse_masks(value: Any, *schemas: Schema) -> None:
    """Refuse a payload in which a secret's value is its mask: it was copied from what was shown.

    Raises:
        InvalidPayload: with a pointer for each.
    """
    found: list[str] = []
    compare_with_marked(value, replaced(value, schemas, lambda _secret: SECRET), "", found)
    if found:
        sentence = "This is the mask of a secret, not its value."
        raise InvalidPayload(
            f"The payload has {len(found)} fault{'s' * (len(found) > 1)}.",
            [FieldError(pointer, sentence) for pointer in found],
        )


def compare_with_marked(value: Any, marked: Any, pointer: str, found: list[str]) -> None:
    """Find the masks in a value, given the same value with SECRET in the place of each secret."""
    if marked is SECRET:
        if any(text == MASK for text in texts_in(value)):
            found.append(pointer)
    elif isinstance(value, dict):
        for name, item in value.items():
            place = name.replace("~", "~0").replace("/", "~1")
            compare_with_marked(item, marked[name], f"{pointer}/{place}", found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            compare_with_marked(item, marked[index], f"{pointer}/{index}", found)


def secrets_in(value: Any, *schemas: Schema) -> list[str]:
    """The texts of a value's secrets that are long enough to be looked for elsewhere."""
    found: list[Any] = []
    replaced(value, schemas, found.append)
    return [text for secret in found for text in texts_in(secret) if len(text) >= SHORTEST and text != MASK]


def texts_in(value: Any) -> Iterator[str]:
    """Every text within a value, however deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def hidden(value: Any, secrets: Iterable[str]) -> Any:
    """The value with these secrets masked in all its texts; names of members too."""
    longest_first = sorted(set(secrets), key=len, reverse=True)
    if not longest_first:
        return value
    # An error or a diff may quote a secret as Python or JSON writes it.
    forms = [form for secret in longest_first for form in dict.fromkeys((secret, repr(secret)[1:-1], written(secret)))]
    return everywhere(value, re.compile("|".join(map(re.escape, forms))))


def hidden_faults(faults: list[FieldError], value: Any, schemas: Iterable[Schema]) -> list[FieldError]:
    """What is wrong with a value, without its secrets: a validator of the author's may quote them."""
    secrets = secrets_in(value, *schemas)
    return [FieldError(fault.pointer, hidden(fault.detail, secrets)) for fault in faults]


def written(text: str) -> str:
    """A text as JSON writes it, without its quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def everywhere(value: Any, pattern: re.Pattern[str]) -> Any:
    """The value with what the pattern finds masked."""
    if isinstance(value, str):
        return pattern.sub(MASK, QUOTED_INPUT.sub(f"input_value={MASK}, input_type=", value))
    if isinstance(value, dict):
        return {pattern.sub(MASK, name): everywhere(item, pattern) for name, item in value.items()}
    return [everywhere(item, pattern) for item in value] if isinstance(value, list) else value


def replaced(value: Any, schemas: Iterable[Schema], put: Callable[[Any], Any]) -> Any:
    """The value with each secret replaced; itself when no schema marks any."""
    marked = [(schema, schema) for schema in schemas if marks_secrets(schema)]
    return walked(value, marked, put) if marked else value


def walked(value: Any, places: Iterable[Place], put: Callable[[Any], Any], depth: int = 0) -> Any:
    """The same for a value and all the schemas that may describe it: it is walked through once, however many."""
    places = all_places(places)
    if value is None or not places:
        return value
    if depth > DEEPEST or any(is_secret(schema) for schema, _root in places):
        return put(value)
    if isinstance(value, dict):
        return {name: walked(item, inner(places, member, name), put, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [walked(item, inner(places, element, index), put, depth + 1) for index, item in enumerate(value)]
    return value


def all_places(places: Iterable[Place]) -> list[Place]:
    """These schemas and the others that may describe the same value, each once."""
    found: dict[tuple[int, int], Place] = {}
    waiting = list(places)
    while waiting:
        schema, root = place = waiting.pop()
        if (id(schema), id(root)) not in found:
            found[id(schema), id(root)] = place
            waiting += ((other, root) for other in also_schemas(schema, root))
    return list(found.values())


def inner(places: Iterable[Place], part: Callable[[Schema, Any], Iterable[Any]], at: Any) -> Iterator[Place]:
    """The schemas of a part of the value; those that say nothing of it, such as `true`, are left out."""
    for schema, root in places:
        yield from ((found, root) for found in part(schema, at) if isinstance(found, Mapping))


def holding(schema: Schema, name: str, other: Schema) -> Schema:
    """The schema of an object of which one member, or its absence, is described by another whole schema."""
    whole = {key: value for key, value in other.items() if key != "$defs"}
    member = {"anyOf": [whole, {"type": "null"}], "default": None}
    definitions = {**schema.get("$defs", {}), **other.get("$defs", {})}
    return {**schema, "$defs": definitions, "properties": {**schema["properties"], name: member}}


def also_schemas(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The other schemas that may describe the same value."""
    if isinstance(reference := schema.get("$ref"), str):
        yield definition_at(root, reference)
    for name in BRANCHES:
        yield from (found for found in schema.get(name, ()) if isinstance(found, Mapping))


def definition_at(root: Schema, reference: str) -> Schema:
    """What a reference within the schema leads to."""
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def member(schema: Schema, name: str) -> Iterator[Any]:
    """The schemas of a member of an object. Patterns are not compared: any of them may be meant."""
    yield from schema.get("patternProperties", {}).values()
    properties = schema.get("properties", {})
    yield properties[name] if name in properties else schema.get("additionalProperties")


def element(schema: Schema, index: int) -> Iterator[Any]:
    """The schema of an element of a list."""
    first = schema.get("prefixItems", ())
    yield first[index] if index < len(first) else schema.get("items")
