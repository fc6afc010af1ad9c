"""Parse JSON that people type into forms, as strictly as the API parses request bodies."""

from __future__ import annotations

from typing import Any, Final

from taskqueue.json_values import strict

LONGEST: Final = 4 * 1024 * 1024
"""Characters. The engine checks how large a payload may be."""


def parse_json(text: str) -> Any:
    """Parse JSON text.

    Raises:
        ValueError: the text is not JSON, too long or nested too deeply; the message is a sentence for the form.
    """
    if len(text) > LONGEST:
        raise ValueError(f"The text has more than {LONGEST:,} characters.")
    return strict.parse(text)
