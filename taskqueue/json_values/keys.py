"""Dict keys that differ in Python and are one text in JSON, such as 1 and "1": one value would be lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

SCALARS: Final = {str, int, float, bool, type(None)}
KEYS: TypeAdapter[Any] = TypeAdapter(dict[Any, None])


def refuse_collisions(value: object) -> None:
    """Check that no two keys of a dict, anywhere in a value, are written alike.

    Raises:
        ValueError: two are.
    """
    stack: list[Iterator[object]] = [iter((value,))]
    while stack:
        item = next(stack[-1], stack)
        if item is stack:
            stack.pop()
        elif type(item) in SCALARS:
            continue
        elif isinstance(item, dict):
            if not all(type(key) is str for key in item):
                _refuse_collisions_of(item)
            stack.append(iter(item.values()))
        elif isinstance(item, list | tuple):
            stack.append(iter(item))
        elif isinstance(item, BaseModel):
            stack.append(iter(vars(item).values()))


def _refuse_collisions_of(item: dict[Any, object]) -> None:
    seen: set[str] = set()
    for key in item:
        (text,) = KEYS.dump_python({key: None}, mode="json")
        if text in seen:
            raise ValueError(f"two keys of a dict are both written as {text!r}")
        seen.add(text)
