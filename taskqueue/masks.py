"""Finds the secrets of a value by its JSON schema, and masks them there and in other texts.

A field is secret if its schema has `"secret": true` (`Field(json_schema_extra={"secret": True})`) or
`"writeOnly": true`, which pydantic writes for `SecretStr` and `SecretBytes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from pydantic import PydanticUserError, SecretBytes, SecretStr

from taskqueue.errors import DefinitionError, FieldError, InvalidPayload
from taskqueue.json_pointers import pointer_to, unescape

MASK: Final = "**********"
SHORTEST: Final = 6
"""A shorter secret is masked in its own field only: in other texts it would match parts of words."""
MARKS: Final = ("secret", "writeOnly")
BRANCHES: Final = ("anyOf", "oneOf", "allOf")
DEEPEST: Final = 200
"""Pydantic reads no deeper JSON; anything deeper counts as secret."""
QUOTED_INPUT: Final = re.compile(r"input_value=.{0,500}?, input_type=", re.DOTALL)
"""Pydantic quotes an invalid value, shortened in the middle, so that a search for the secret would miss it."""

Schema = Mapping[str, Any]
SchemaInRoot = tuple[Schema, Schema]
"""A schema, and the root schema that its references point into."""
Path = tuple[str | int, ...]
Replacement = Callable[[Any, Path], Any]
"""Returns what a secret at this path is replaced with."""

ALL_SECRET: Final[Schema] = {"secret": True}
"""For values without a schema: everything is secret."""


class HasSchema:
    """A value type with a JSON schema, which marks its secrets."""

    make_schema: Callable[..., Schema]

    @cached_property
    def schema(self) -> Schema:
        return self.make_schema()

    @cached_property
    def has_secrets(self) -> bool:
        return marks_secrets(self.schema)

    @cached_property
    def secret_schemas(self) -> tuple[Schema, ...]:
        """The schemas to find secrets with: by the names that are read, that are written, and without aliases."""
        if not self.has_secrets:
            return ()
        try:
            return self.schema, self.make_schema(mode="serialization"), self.make_schema(by_alias=False)
        except PydanticUserError:
            return (ALL_SECRET,)


def refuse_unmarked(function: Callable[..., Any], core_schema: object) -> None:
    """Refuse `Secret[…]`, because its JSON schema does not mark it as secret.

    Raises:
        DefinitionError
    """
    if "function _serialize_secret at " in repr(core_schema):
        raise DefinitionError(
            f"{function.__qualname__} has an annotation Secret[…], which would be stored as asterisks.",
            hint='Use SecretStr, or mark a plain field: Field(json_schema_extra={"secret": True}).',
        )


def revealed(plain: Any, dumped: Any) -> Any:
    """A JSON value in which pydantic's masks are replaced by the secrets.

    Args:
        plain: the value dumped as JSON.
        dumped: the value dumped as Python objects. Both dumps have one shape and order, sets included.
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
    if isinstance(schema, Mapping):
        return is_secret(schema) or any(map(marks_secrets, schema.values()))
    return isinstance(schema, list) and any(map(marks_secrets, schema))


def is_secret(schema: Schema) -> bool:
    return any(schema.get(mark) is True for mark in MARKS)


def masked(value: Any, *schemas: Schema) -> Any:
    """The value with every secret masked that one of these schemas marks."""
    return replace_secrets(value, schemas, lambda _secret: MASK)


def refuse_masks(value: Any, *schemas: Schema) -> None:
    """Refuse a payload that has the mask in place of a secret, because it was copied from a redacted view.

    Raises:
        InvalidPayload: with a pointer to each mask.
    """
    errors: list[FieldError] = []

    def refuse_mask(secret: Any, path: Path) -> None:
        if MASK in texts_in(secret):
            errors.append(FieldError(pointer_to(path), "This is the mask of a secret, not its value."))

    replace_at_path(value, schemas, refuse_mask)
    if errors:
        raise InvalidPayload(f"The payload has {len(errors)} error{'s' * (len(errors) > 1)}.", errors)


def secrets_in(value: Any, *schemas: Schema) -> list[str]:
    """The texts of a value's secrets, without those too short to be searched for elsewhere."""
    found: list[Any] = []
    replace_secrets(value, schemas, found.append)
    return [text for secret in found for text in texts_in(secret) if len(text) >= SHORTEST and text != MASK]


def texts_in(value: Any) -> Iterator[str]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list):
            stack += item


def hidden(value: Any, secrets: Iterable[str]) -> Any:
    """The value with these secrets masked in all its texts and member names."""
    longest_first = sorted(set(secrets), key=len, reverse=True)
    if not longest_first:
        return value
    # An error message or a diff may quote a secret as Python or JSON writes it.
    forms = [
        form for secret in longest_first for form in dict.fromkeys((secret, repr(secret)[1:-1], json_escaped(secret)))
    ]
    return mask_pattern(value, re.compile("|".join(map(re.escape, forms))))


def redacted_errors(errors: list[FieldError], value: Any, schemas: Iterable[Schema]) -> list[FieldError]:
    """The errors without the value's secrets, which an author's validator may quote."""
    secrets = secrets_in(value, *schemas)
    return [FieldError(error.pointer, hidden(error.detail, secrets)) for error in errors]


def json_escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def mask_pattern(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(MASK, QUOTED_INPUT.sub(f"input_value={MASK}, input_type=", value))
    if isinstance(value, dict):
        return {pattern.sub(MASK, name): mask_pattern(item, pattern) for name, item in value.items()}
    return [mask_pattern(item, pattern) for item in value] if isinstance(value, list) else value


def replace_secrets(value: Any, schemas: Iterable[Schema], replacement: Callable[[Any], Any]) -> Any:
    """The value with each secret replaced; the value itself if no schema marks any."""
    return replace_at_path(value, schemas, lambda secret, _path: replacement(secret))


def replace_at_path(value: Any, schemas: Iterable[Schema], replacement: Replacement) -> Any:
    marked = [(schema, schema) for schema in schemas if marks_secrets(schema)]
    return replace_by_schemas(value, marked, replacement) if marked else value


def replace_by_schemas(value: Any, schemas: Iterable[SchemaInRoot], replacement: Replacement, path: Path = ()) -> Any:
    """Replace the secrets of a value by all schemas that may describe it, in one pass."""
    schemas = all_schemas(schemas)
    if value is None or not schemas:
        return value
    if len(path) > DEEPEST or any(is_secret(schema) for schema, _root in schemas):
        return replacement(value, path)
    if isinstance(value, dict):
        return {
            name: replace_by_schemas(item, schemas_of_part(schemas, member, name), replacement, (*path, name))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            replace_by_schemas(item, schemas_of_part(schemas, element, index), replacement, (*path, index))
            for index, item in enumerate(value)
        ]
    return value


def all_schemas(schemas: Iterable[SchemaInRoot]) -> list[SchemaInRoot]:
    """These schemas and all that they refer to or branch into for one value, each once."""
    found: dict[tuple[int, int], SchemaInRoot] = {}
    stack = list(schemas)
    while stack:
        schema, root = stack.pop()
        if (id(schema), id(root)) not in found:
            found[id(schema), id(root)] = schema, root
            stack += ((other, root) for other in alternatives(schema, root))
    return list(found.values())


def schemas_of_part(
    schemas: Iterable[SchemaInRoot], part: Callable[[Schema, Any], Iterable[Any]], at: Any
) -> Iterator[SchemaInRoot]:
    """The schemas of a member or an element of the value, without boolean ones."""
    for schema, root in schemas:
        yield from ((found, root) for found in part(schema, at) if isinstance(found, Mapping))


def with_member_schema(schema: Schema, name: str, other: Schema) -> Schema:
    """The schema of an object with another whole schema, or null, for one of its members."""
    whole = {key: value for key, value in other.items() if key != "$defs"}
    member = {"anyOf": [whole, {"type": "null"}], "default": None}
    definitions = {**schema.get("$defs", {}), **other.get("$defs", {})}
    return {**schema, "$defs": definitions, "properties": {**schema["properties"], name: member}}


def alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The schemas that this one refers to or branches into."""
    if isinstance(reference := schema.get("$ref"), str):
        yield definition_at(root, reference)
    for name in BRANCHES:
        yield from (found for found in schema.get(name, ()) if isinstance(found, Mapping))


def definition_at(root: Schema, reference: str) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(unescape(part), {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def member(schema: Schema, name: str) -> Iterator[Any]:
    """The schemas of a member of an object. Patterns are not compared: each of them counts."""
    yield from schema.get("patternProperties", {}).values()
    properties = schema.get("properties", {})
    yield properties[name] if name in properties else schema.get("additionalProperties")


def element(schema: Schema, index: int) -> Iterator[Any]:
    first = schema.get("prefixItems", ())
    yield first[index] if index < len(first) else schema.get("items")
