"""Key templates, whose fields are dotted paths: {order.items.0.name}."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any

from taskqueue.json_values.codec import fingerprint_of, printable
from taskqueue.policies.paths import MISSING, lookup

KEY_MAX = 200
"""The longest key and the longest template, in characters."""

KEY_PREFIX = 160
"""Characters of a longer key that are kept before its digest."""


@dataclass(frozen=True)
class KeyTemplate:
    """A key whose fields come from a task: "{tenant}", "{order.customer}:{labels.region}".

    Attributes:
        text: each field is a dotted path into payload or labels, in braces; write {{ and }} for literal braces.
    """

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > KEY_MAX:
            raise ValueError(f"A key template has at most {KEY_MAX} characters, not {len(self.text):,}.")
        if printable(self.text) != self.text:
            raise ValueError(f"The key template {self.text!r} holds a character that cannot be stored; take it out.")
        if not self.fields:
            raise ValueError(f'The key template "{self.text}" has no field; name one, such as {{tenant}}.')

    @property
    def fields(self) -> tuple[str, ...]:
        """The dotted paths in order, each once."""
        return tuple(dict.fromkeys(path for _, path in pieces_of(self.text) if path))

    def render(self, values: Mapping[str, Any], labels: Mapping[str, str]) -> str:
        """Return the key. One of more than 200 characters is cut to 160 and ends in ":" and a digest of the whole.

        Args:
            values: the payload as JSON.
            labels: used for `labels.name`, unless the payload has its own `labels`, and for a plain `name` that the
                payload lacks.
        """
        whole = self.fill(values, labels)
        return whole if len(whole) <= KEY_MAX else f"{whole[:KEY_PREFIX]}:{fingerprint_of(whole)}"

    def value(self, values: Mapping[str, Any], labels: Mapping[str, str]) -> Any:
        """Return the JSON value (None when missing) if the template is a single field, or else the whole text."""
        pieces = pieces_of(self.text)
        if len(pieces) > 1 or pieces[0][0]:
            return self.fill(values, labels)
        found = find(self.fields[0], values, labels)
        return None if found is MISSING else found

    def fill(self, values: Mapping[str, Any], labels: Mapping[str, str]) -> str:
        """Return the whole text, however long. A field that is missing or None adds no text."""
        parts = [
            literal + (text_of(find(path, values, labels)) if path else "") for literal, path in pieces_of(self.text)
        ]
        return printable("".join(parts))


@lru_cache(maxsize=1024)
def pieces_of(text: str) -> tuple[tuple[str, str], ...]:
    """Return a template as pairs: literal text, and the path of the field after it ("" after the last literal).

    Raises:
        ValueError: its braces do not close, or a field is more than a dotted path.
    """
    pieces = []
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f'The key template "{text}" has unbalanced braces ({error}); write {{{{ and }}}} for the braces themselves.'
        ) from error
    for literal, path, spec, conversion in parsed:
        if path is not None:
            _check_field(text, path, bool(spec or conversion))
        pieces.append((literal, path or ""))
    if "".join(escaped(literal) + (f"{{{path}}}" if path else "") for literal, path in pieces) != text:
        raise ValueError(f'A field of the key template "{text}" has an empty format; leave out the colon.')
    return tuple(pieces)


def escaped(literal: str) -> str:
    return literal.replace("{", "{{").replace("}", "}}")


def _check_field(text: str, path: str, formatted: bool) -> None:  # noqa: FBT001 - private, called once
    where = f'The field "{{{path}}}" of the key template "{text}"'
    if formatted:
        raise ValueError(f"{where} has a conversion or format; a key takes values as they are, so leave it out.")
    if not path:
        raise ValueError(f"{where} is empty; name a path, such as {{tenant}}.")
    if any(part != part.strip() or not part for part in path.split(".")):
        raise ValueError(f"{where} has an empty part or spaces; write it as names separated by dots.")
    if any(brace in path for brace in "{}[]"):
        raise ValueError(f"{where} has brackets; write names and numbers separated by dots, such as items.0.name.")
    if path.split(".", maxsplit=1)[0].isdecimal():
        raise ValueError(f"{where} is a position; begin with a name.")


def find(path: str, values: Mapping[str, Any], labels: Mapping[str, str]) -> Any:
    found = lookup(path, values)
    if found is not MISSING:
        return found
    first, dot, rest = path.partition(".")
    if not dot:
        return labels.get(first, MISSING)
    if first == "labels" and first not in values:
        return labels.get(rest, MISSING)
    return MISSING


def text_of(value: Any) -> str:
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str)
    return str(value)


class Keyed:
    """A policy with an optional key: it applies to each value of the key separately."""

    key: str

    @property
    def template(self) -> KeyTemplate | None:
        return KeyTemplate(self.key) if self.key else None

    def check_key(self) -> None:
        if self.key:
            KeyTemplate(self.key)
