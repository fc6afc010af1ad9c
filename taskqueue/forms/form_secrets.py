"""Secrets in forms: no page shows one, and a field left empty keeps the default or the original value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from taskqueue import masks
from taskqueue.masks import Path


@dataclass(frozen=True)
class Secret:
    """Marks a secret within a value."""

    value: Any


def without_secrets(value: Any, *schemas: Mapping[str, Any]) -> Any:
    """The value without its secret members; None when the whole value is secret."""
    return split_secrets(value, *schemas)[0]


def split_secrets(value: Any, *schemas: Mapping[str, Any]) -> tuple[Any, dict[Path, Any]]:
    """The value without its secrets, and the secrets by path. A list that contains a secret is secret as a whole."""
    secrets: dict[Path, Any] = {}
    rest = extract_secrets(masks.replace_secrets(value, schemas, Secret), (), secrets)
    if isinstance(rest, Secret):
        return None, {(): rest.value}
    return rest, secrets


def extract_secrets(value: Any, path: Path, secrets: dict[Path, Any]) -> Any:
    """Copy a value without its marked secrets, which go into `secrets` by path."""
    if isinstance(value, list):
        if any(isinstance(item, Secret) for item in value):
            return Secret(unmark(value))
        return [extract_secrets(item, (*path, index), secrets) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    public = {}
    for name, item in value.items():
        rest = extract_secrets(item, (*path, name), secrets)
        if isinstance(rest, Secret):
            secrets[*path, name] = rest.value
        else:
            public[name] = rest
    return public


def unmark(value: Any) -> Any:
    """A value with its marked secrets replaced by their plain values."""
    if isinstance(value, Secret):
        return value.value
    if isinstance(value, dict):
        return {name: unmark(item) for name, item in value.items()}
    return [unmark(item) for item in value] if isinstance(value, list) else value


def restore_secrets(value: Any, original: Any, secrets: Mapping[Path, Any]) -> Iterator[Path]:
    """Put secrets back into an edited value, unless the editor wrote a value of their own.

    Args:
        value: the edited value; changed in place.
        original: the value before editing, without its secrets.
        secrets: by their path in the original.

    Yields:
        The paths of secrets that cannot be put back, because their list element was edited.
    """
    before = deepcopy(value)
    for path, secret in secrets.items():
        if not path:
            continue  # the whole value is secret
        *parents, name = path
        parent = value_at(value, parents)
        if not isinstance(parent, dict) or name in parent:
            continue  # the object is gone, or the editor wrote a value
        # List elements have no names: after an edit it is unknown which element a secret belongs to.
        first = next((index for index, part in enumerate(parents) if isinstance(part, int)), None)
        element = parents[: first + 1] if first is not None else None
        if element is not None and value_at(before, element) != value_at(original, element):
            yield path
        else:
            parent[name] = secret


def value_at(value: Any, path: list[str | int]) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
