"""JSON in colours. Every piece is escaped by itself, so hostile values stay text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

COLOURED_LENGTH: Final = 16_000
"""Longer text stays in one colour: a span for each of its values would weigh more than they do."""
PIECE: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=\s*:))|(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?\d[\d.eE+-]*)'
    r"|(?P<word>\b(?:true|false|null)\b)"
)


def coloured(text: str) -> SafeString:
    """JSON text as HTML."""
    if len(text) > COLOURED_LENGTH:
        return format_html("{}", text)
    return format_html_join("", "{}{}", pieces(text))


def pieces(text: str) -> Iterator[tuple[str, SafeString | str]]:
    """What stands before each value, and the value in its colour."""
    end = 0
    for found in PIECE.finditer(text):
        span = format_html('<span class="tq-json-{}">{}</span>', found.lastgroup, found.group())
        yield text[end : found.start()], span
        end = found.end()
    yield text[end:], ""
