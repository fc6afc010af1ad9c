"""Keys of dicts that are different values in Python and one text in JSON: nothing may vanish silently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter

KEYS: TypeAdapter[Any] = TypeAdapter(dict[Any, None])


def refuse_collisions(value: object) -> None:
    """See that no two keys of a dict in a value fall together.

    Raises:
        ValueError: they do.
    """
    if (text := collision_in(value)) != "":
        raise ValueError(f"two keys of a dict are both written as {text}")


def collision_in(value: object) -> str:
    """The text for which two keys of one dict somewhere in a value would stand; empty when there are none."""
    waiting: list[Iterator[object]] = [iter((value,))]
    while waiting:
        found = next(waiting[-1], waiting)
        if found is waiting:
            waiting.pop()
        elif isinstance(found, dict):
            if not all(type(key) is str for key in found) and (text := collision_of(found)):
                return text
            waiting.append(iter(found.values()))
        elif isinstance(found, list | tuple):
            waiting.append(iter(found))
        elif isinstance(found, BaseModel):
            waiting.append(iter(vars(found).values()))
    return ""


def collision_of(found: dict[Any, object]) -> str:
    """The first text for which two keys of a dict would stand."""
    seen: set[str] = set()
    for key in found:
        (text,) = KEYS.dump_python({key: None}, mode="json")
        if text in seen:
            return repr(text)
        seen.add(text)
    return ""
