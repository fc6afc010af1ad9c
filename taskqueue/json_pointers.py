"""JSON pointers (RFC 6901): how errors name a place in a value, and schemas a place in themselves."""

from __future__ import annotations

from collections.abc import Iterable


def pointer_to(path: Iterable[object]) -> str:
    """The pointer to the value at this path of names and indexes; empty for the whole value."""
    return "".join(f"/{escape(part)}" for part in path)


def escape(part: object) -> str:
    """One part of a pointer, as section 3 of the RFC writes it."""
    return str(part).replace("~", "~0").replace("/", "~1")


def unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
