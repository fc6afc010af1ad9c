"""Dotted paths into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MISSING: Final = object()
"""What a path finds that leads to no value, not even None."""


def lookup(path: str, data: Any) -> Any:
    """Return the value at a dotted path, or MISSING. A number is an index of a list."""
    found = data
    for part in path.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list | tuple) and is_index(part) and int(part) < len(found):
            found = found[int(part)]
        else:
            return MISSING
    return found


def is_index(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 10
