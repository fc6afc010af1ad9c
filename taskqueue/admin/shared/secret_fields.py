"""Secrets in forms: no page shows one, and a field that is left empty keeps the default or the original."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from taskqueue import masks
from taskqueue.codec import escape

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Hidden:
    """A secret within a value."""

    value: Any


def without_secrets(value: Any, *schemas: Mapping[str, Any]) -> Any:
    """The value without the members that are secrets; None when it is one itself."""
    return split(value, *schemas)[0]


def split(value: Any, *schemas: Mapping[str, Any]) -> tuple[Any, dict[Path, Any]]:
    """The value without its secrets, and these by where they were. A list that holds some is one as a whole."""
    found: dict[Path, Any] = {}
    rest = pruned(masks.replaced(value, schemas, Hidden), (), found)
    if isinstance(rest, Hidden):
        return None, {(): rest.value}
    return rest, found


def pruned(value: Any, path: Path, found: dict[Path, Any]) -> Any:
    """A value without the secrets in it, which are noted."""
    if isinstance(value, list):
        if any(isinstance(item, Hidden) for item in value):
            return Hidden(shown(value))
        return [pruned(item, (*path, index), found) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, item in value.items():
        rest = pruned(item, (*path, name), found)
        if isinstance(rest, Hidden):
            found[*path, name] = rest.value
        else:
            kept[name] = rest
    return kept


def shown(value: Any) -> Any:
    """A value with the secrets in it as they are."""
    if isinstance(value, Hidden):
        return value.value
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list) else value


def restored(value: Any, original: Any, secrets: Mapping[Path, Any]) -> Iterator[Path]:
    """Put secrets back into a value that was edited without them, where it names none itself; those without a place.

    Args:
        value: the edited one, which is changed.
        original: what was edited.
        secrets: by where they were in the original.
    """
    before = deepcopy(value)
    for path, secret in secrets.items():
        if not path:
            continue  # the whole of it
        *way, name = path
        parent = followed(value, way)
        if not isinstance(parent, dict) or name in parent:
            continue  # the object is gone, or its secret was written out
        # The elements of a list have no names: of one that was changed it cannot be told whose secret this was.
        first = next((index for index, part in enumerate(way) if isinstance(part, int)), None)
        element = way[: first + 1] if first is not None else None
        if element is not None and followed(before, element) != followed(original, element):
            yield path
        else:
            parent[name] = secret


def followed(value: Any, path: list[str | int]) -> Any:
    """What a path leads to; None when there is nothing."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def pointer(path: Path) -> str:
    """A JSON pointer."""
    return "".join(f"/{escape(part)}" for part in path)
