"""Lengths of time as people write them."""

from __future__ import annotations

import re
from typing import Final

LENGTH: Final = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+(?:\.\d+)?)s?)?")
UNITS: Final = (86_400, 3_600, 60, 1)


def seconds_in(text: str) -> float | None:
    """A length of time such as 90, 1.5s, 15m or 2h 30m in seconds; None when it is none."""
    found = LENGTH.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    return sum(float(number) * unit for number, unit in zip(found.groups(), UNITS, strict=True) if number)
