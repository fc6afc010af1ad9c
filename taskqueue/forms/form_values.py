"""Read values that people type into forms, and add the engine's errors to their fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from django import forms

from taskqueue.errors import FieldError
from taskqueue.json_values import strict

LONGEST: Final = 4 * 1024 * 1024
"""Characters. The engine checks how large a payload may be."""
DURATION: Final = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+(?:\.\d+)?)s?)?")
UNITS: Final = (86_400, 3_600, 60, 1)


def parse_json(text: str) -> Any:
    """Parse JSON as strictly as the API parses request bodies.

    Raises:
        ValueError: the text is not JSON, too long or nested too deeply; the message is a sentence for the form.
    """
    if len(text) > LONGEST:
        raise ValueError(f"The text has more than {LONGEST:,} characters.")
    return strict.parse(text)


def seconds_in(text: str) -> float | None:
    """Seconds of a duration such as `90`, `1.5s`, `15m` or `2h 30m`; None when the text is not a duration."""
    match = DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    return sum(float(number) * unit for number, unit in zip(match.groups(), UNITS, strict=True) if number)


def add_errors(form: forms.BaseForm, errors: Iterable[FieldError]) -> None:
    """Add each error to the field that its pointer names, else to the form."""
    for error in errors:
        name = error.pointer.strip("/").split("/")[0]
        form.add_error(name if name in form.fields else None, error.detail)
