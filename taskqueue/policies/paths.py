"""Dotted paths into JSON, and text that can be stored."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from typing import Any, Final


class Missing(Enum):
    """That there is nothing at a path, which is not the same as None."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def lookup(path: str, data: Any) -> Any:
    """What is at a dotted path, or MISSING. A number is a place in a list."""
    found = data
    for part in path.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list | tuple) and is_place(part) and int(part) < len(found):
            found = found[int(part)]
        else:
            return MISSING
    return found


def is_place(part: str) -> bool:
    """Whether a part of a path may be a place in a list."""
    return part.isascii() and part.isdecimal() and len(part) < 10


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot store in it (NUL, lone surrogates) replaced."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


def digest(text: str) -> str:
    """32 hexadecimal digits of SHA-256."""
    return sha256(text.encode()).hexdigest()[:32]
