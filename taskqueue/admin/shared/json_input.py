"""JSON that people type into forms: as strict as the bodies of the API."""

from __future__ import annotations

import json
from typing import Any, Final

from taskqueue import nesting

LONGEST: Final = 4 * 1024 * 1024
"""Characters; how large a payload may be is for the engine to say."""
TOO_DEEP: Final = f"This is nested too deeply: more than {nesting.DEEPEST} levels."


def read(text: str) -> Any:
    """A value from JSON text.

    Raises:
        ValueError: it is no JSON, or longer or deeper than it may be, in words that say where.
    """
    if len(text) > LONGEST:
        raise ValueError(f"The text has more than {LONGEST:,} characters.")
    try:
        value = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if nesting.is_too_deep(value):
        raise ValueError(TOO_DEEP)
    return value


def refuse_constant(name: str) -> Any:
    """NaN and infinities, which Python would take and JSON has not."""
    raise ValueError(f"This is not JSON: {name} is no JSON number.")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values with one name the first would be lost."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"The name “{name}” stands twice in one object.")
        found[name] = value
    return found
