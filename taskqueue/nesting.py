"""How deeply JSON from outside may be nested: bodies of the API, and what people type into forms."""

from __future__ import annotations

from typing import Any, Final

DEEPEST: Final = 100
"""Levels of arrays and objects. Whatever is put around it later, pydantic and PostgreSQL can still read it."""


def is_too_deep(value: object) -> bool:
    """Whether a value has more levels than that; looks no further."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        holders = [item for item in level if isinstance(item, dict | list)]
        if not holders:
            return False
        level = [item for holder in holders for item in (holder.values() if isinstance(holder, dict) else holder)]
    return True
