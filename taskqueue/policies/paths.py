"""Dotted paths into JSON, and text that PostgreSQL can store."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Any, Final


class Missing(Enum):
    """The type of MISSING: a path leads to no value, not even None."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


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


def storable(text: str) -> str:
    """Return the text with the characters that PostgreSQL cannot store (NUL, lone surrogates) replaced."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
