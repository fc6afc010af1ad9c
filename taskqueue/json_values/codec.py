"""JSON text as it is stored: written, read, limited in size; and what is wrong with a value, with JSON pointers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from taskqueue.errors import FieldError, NotSerializable, TooLarge
from taskqueue.json_pointers import escape, pointer_to

DEEPEST: Final = 200
"""Pydantic reads no deeper JSON."""

ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def write(value: object, *, what: str = "value") -> str:
    """Write a value as the JSON text that is stored.

    Args:
        what: the name of the value in error messages.

    Raises:
        NotSerializable: the value has something that JSON (NaN, infinities, other objects) or PostgreSQL (NUL, lone
            surrogates) cannot store.
    """
    try:
        text = ENCODER.encode(value)
        text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise _not_serializable(value, what, str(error)) from error
    if "\\u0000" in text and NUL.search(text):
        raise _not_serializable(value, what, "it has a NUL character")
    return text


def read(text: str) -> Any:
    """Read JSON text that `write` wrote."""
    return json.loads(text)


def _not_serializable(value: object, what: str, reason: str) -> NotSerializable:
    errors = list(islice(storage_errors(value), 20)) or [FieldError("", reason)]
    return NotSerializable(f"The {what} cannot be stored as JSON: {errors[0].detail}.", errors)


def storage_errors(value: object, pointer: str = "", depth: int = 0) -> Iterator[FieldError]:
    """Each part of a value that JSON or PostgreSQL cannot store."""
    if depth > DEEPEST:
        yield FieldError(pointer, "it is nested too deeply")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from text_errors(str(name), pointer)
            yield from storage_errors(item, f"{pointer}/{escape(name)}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from storage_errors(item, f"{pointer}/{index}", depth + 1)
    else:
        yield from _scalar_errors(value, pointer)


def _scalar_errors(value: object, pointer: str) -> Iterator[FieldError]:
    if isinstance(value, str):
        yield from text_errors(value, pointer)
    elif isinstance(value, float) and not math.isfinite(value):
        yield FieldError(pointer, f"{value} is not a JSON number")
    elif value is not None and not isinstance(value, int | float):
        yield FieldError(pointer, f"a {type(value).__name__} is not a JSON value")


def text_errors(text: str, pointer: str) -> Iterator[FieldError]:
    """What PostgreSQL refuses in a text."""
    if "\x00" in text:
        yield FieldError(pointer, "text cannot hold the NUL character (U+0000)")
    if any("\ud800" <= character <= "\udfff" for character in text):
        yield FieldError(pointer, "text cannot hold a lone surrogate (half of a UTF-16 pair)")


def field_errors(error: ValidationError) -> list[FieldError]:
    """Pydantic's errors as pointers and sentences."""
    return [
        FieldError(pointer_to(item["loc"]), item["msg"])
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def within(text: str, *, limit: int, what: str, setting: str, used: int = 0) -> str:
    """The text, if its bytes and those used before are within the limit.

    Raises:
        TooLarge
    """
    if used + len(text) * 4 > limit and (size := used + len(text.encode())) > limit:
        raise TooLarge(what, size=size, limit=limit, setting=setting)
    return text


def printable(text: str) -> str:
    """The text with replacements for what PostgreSQL cannot store (NUL, lone surrogates)."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


def fingerprint_of(text: str) -> str:
    """A digest of a text, such as the arguments of a call, as 32 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()[:32]
