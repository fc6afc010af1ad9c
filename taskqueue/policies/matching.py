"""Match an event's data: values at dotted paths, and digests by which an index finds the waiting tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from taskqueue.json_values.codec import fingerprint_of, printable
from taskqueue.policies.paths import MISSING, lookup

MATCH_MAX = 10
"""The most paths in a match."""

PATHS_MAX = 1_500
"""The bytes of all paths of a match, which are indexed together with the event's name."""

MAX_NESTING = 100
"""The deepest nesting of a value in a match."""


def matches(match: Mapping[str, Any], data: Any) -> bool:
    """Whether each path of the match is in the data, with a value that is equal as JSON: 1 equals 1.0, but not true."""
    return all(
        (found := lookup(path, data)) is not MISSING and canonical(found) == canonical(value)
        for path, value in match.items()
    )


def match_fields(match: Mapping[str, Any]) -> str:
    """Return the sorted paths of a match, joined by commas."""
    return ",".join(sorted(match))


def match_digest(match: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits that are equal only for equal matches."""
    return _digest_of((path, match[path]) for path in sorted(match))


def digest_for(fields: str, data: Any) -> str | None:
    """Return the digest of the match with exactly these paths that this data satisfies; None when a path is missing.

    Args:
        fields: paths joined by commas, as `match_fields` gives them.
        data: the data of an event.
    """
    found = [(path, lookup(path, data)) for path in sorted(fields.split(",") if fields else [])]
    return None if any(value is MISSING for _, value in found) else _digest_of(found)


def canonical(value: Any) -> str:
    """Return JSON text that is equal for equal values. Numbers are equal when their JSON is, as in PostgreSQL."""
    return json.dumps(_plain(value), separators=(",", ":"), sort_keys=True)


def check_paths(paths: Iterable[str]) -> None:
    """Refuse invalid paths of a match.

    Raises:
        ValueError: there are too many, one is empty or holds a comma, or they are too long together.
    """
    names = sorted(paths)
    if len(names) > MATCH_MAX:
        raise ValueError(f"A match names at most {MATCH_MAX} paths, not {len(names):,}.")
    for name in names:
        if not all(name.split(".")):
            raise ValueError(f'The path "{name}" of a match has an empty part; write names separated by dots.')
        if "," in name:
            raise ValueError(f'The path "{name}" of a match holds a comma; match the value above it instead.')
        if printable(name) != name:
            raise ValueError(f"The path {name!r} of a match holds a character that cannot be stored; take it out.")
    if len(",".join(names).encode()) > PATHS_MAX:
        raise ValueError(f"The paths of a match are at most {PATHS_MAX:,} bytes together; match fewer or shorter ones.")


def check_match(match: Mapping[str, Any]) -> None:
    """Refuse an invalid match.

    Raises:
        ValueError: its paths are wrong (see `check_paths`), or a value is not JSON that can be stored.
    """
    check_paths(match)
    for path, value in match.items():
        if not _is_json(value):
            raise ValueError(
                f'The value at "{path}" of a match is not JSON; use text, finite numbers, booleans, None, lists, dicts.'
            )


def _digest_of(pairs: Iterable[tuple[str, Any]]) -> str:
    return fingerprint_of(canonical(list(pairs)))


def _plain(value: Any) -> Any:
    """Replace each whole float by the int of its JSON number: 1e23 becomes 10**23, whatever its binary value is."""
    if isinstance(value, float) and value.is_integer():
        return int(Decimal(float.__repr__(value)))
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _is_json(value: Any, depth: int = 0) -> bool:
    if depth > MAX_NESTING:
        return False
    if isinstance(value, str):
        return printable(value) == value
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(_is_json(item, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return all(
            isinstance(name, str) and _is_json(name) and _is_json(item, depth + 1) for name, item in value.items()
        )
    return value is None or isinstance(value, int)
