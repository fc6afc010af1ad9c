"""The committed description of the API."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def parsed(text: str | bytes) -> Any:
    """YAML as Python values, by the parser in C: the one in Python takes seconds for our schema."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


@cache
def committed() -> dict[str, Any]:
    """What openapi.yaml holds."""
    schema: dict[str, Any] = parsed((ROOT / "openapi.yaml").read_text())
    return schema
