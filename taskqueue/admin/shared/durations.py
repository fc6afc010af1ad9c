"""Parse durations that people type."""

from __future__ import annotations

import re
from typing import Final

DURATION: Final = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+(?:\.\d+)?)s?)?")
UNITS: Final = (86_400, 3_600, 60, 1)


def seconds_in(text: str) -> float | None:
    """Seconds of a duration such as `90`, `1.5s`, `15m` or `2h 30m`; None when the text is not a duration."""
    match = DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    return sum(float(number) * unit for number, unit in zip(match.groups(), UNITS, strict=True) if number)
