"""Reads the committed openapi.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def parsed(text: str | bytes) -> Any:
    """YAML as Python values. The parser in Python would take seconds for this schema."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


@cache
def committed() -> dict[str, Any]:
    schema: dict[str, Any] = parsed((ROOT / "openapi.yaml").read_text())
    return schema
