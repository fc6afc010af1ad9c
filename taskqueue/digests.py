"""Whether two requests ask for the same: payloads compared by a digest of what their callers gave."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

from pydantic import BaseModel


class CheckedPayload(str):
    """A payload as JSON text that can tell which part of it its caller gave."""

    given: Callable[[], str]

    def __new__(cls, text: str, given: Callable[[], str]) -> CheckedPayload:
        """The text, and what writes the given values."""
        self = super().__new__(cls, text)
        self.given = given
        return self


def payload_digest(payload: str) -> str:
    """A short name for a payload: the same values, given again in any order, have the same one."""
    given = payload.given() if isinstance(payload, CheckedPayload) else payload
    return sha256(json.dumps(json.loads(given), sort_keys=True).encode()).hexdigest()[:32]


def equal_as(model: type[BaseModel], left: str, right: str) -> bool:
    """Whether two JSON texts are equal as values of a model."""
    try:
        return model.model_validate_json(left) == model.model_validate_json(right)
    except Exception:  # noqa: BLE001 - comparing runs the author's __eq__
        return False
