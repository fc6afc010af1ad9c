"""Digests of payloads, by which two requests with one key are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

from pydantic import BaseModel


class CheckedPayload(str):
    """A payload as JSON text, which can also write the values that its caller gave, without defaults."""

    __slots__ = ("given",)

    given: Callable[[], str]

    def __new__(cls, text: str, given: Callable[[], str]) -> CheckedPayload:
        """The text, and a function that writes the given values."""
        self = super().__new__(cls, text)
        self.given = given
        return self


def payload_digest(payload: str) -> str:
    """A digest of the values that the caller gave: their order does not matter."""
    given = payload.given() if isinstance(payload, CheckedPayload) else payload
    return sha256(json.dumps(json.loads(given), sort_keys=True).encode()).hexdigest()[:32]


def equal_as(model: type[BaseModel], left: str, right: str) -> bool:
    """Whether two JSON texts have equal values for a model."""
    try:
        return model.model_validate_json(left) == model.model_validate_json(right)
    except Exception:  # noqa: BLE001 - runs the author's __eq__
        return False
