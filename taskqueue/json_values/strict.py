"""Strict reading of JSON from outside: request bodies, and text that people type into forms."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Final, NoReturn

DEEPEST: Final = 100
"""Levels of arrays and objects. Inside an envelope of ours pydantic and PostgreSQL can still read them."""


class InvalidJson(ValueError):
    """The text is not JSON, or not the JSON that is accepted here; the message is a sentence for the sender."""


def parse(text: str) -> Any:
    """Read JSON as RFC 8259 and I-JSON (RFC 7493) define it: finite numbers, no name twice in one object.

    Raises:
        InvalidJson
    """
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repeated_names
        )
    except json.JSONDecodeError as error:
        raise InvalidJson(f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise _too_deep() from error
    except InvalidJson:
        raise
    except ValueError as error:  # Python's own limit for the digits of an integer
        raise InvalidJson("This has a number with too many digits.") from error
    if is_too_deep(value):
        raise _too_deep()
    return value


def is_too_deep(value: object) -> bool:
    """Whether a value has more than DEEPEST levels."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        holders = [item for item in level if isinstance(item, dict | list)]
        if not holders:
            return False
        level = [item for holder in holders for item in (holder.values() if isinstance(holder, dict) else holder)]
    return True


def _too_deep() -> InvalidJson:
    return InvalidJson(f"This is nested too deeply: more than {DEEPEST} levels.")


def _refuse_constant(name: str) -> NoReturn:
    # Python's reader accepts NaN and the infinities.
    raise InvalidJson(f"This is not JSON: {name} is not a JSON number.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidJson(f"The number {text[:40]} is too large.")
    return value


def _without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Python's reader keeps the last of several values with one name and drops the others.
    found = dict(pairs)
    if len(found) != len(pairs):
        (repeated, _times), *_rest = Counter(name for name, _value in pairs).most_common(1)
        raise InvalidJson(f"The name “{repeated[:200]}” occurs twice in one object.")
    return found
