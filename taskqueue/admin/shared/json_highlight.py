"""Highlight JSON as HTML. Every token is escaped by itself, so hostile values stay text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

MAX_LENGTH: Final = 16_000
"""Longer text is not highlighted: its spans would be larger than the text."""
TOKEN: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=\s*:))|(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>-?\d[\d.eE+-]*)'
    r"|(?P<word>\b(?:true|false|null)\b)"
)


def highlight(text: str) -> SafeString:
    """JSON text as HTML with a span around each key and value."""
    if len(text) > MAX_LENGTH:
        return format_html("{}", text)
    return format_html_join("", "{}{}", tokens(text))


def tokens(text: str) -> Iterator[tuple[str, SafeString | str]]:
    end = 0
    for match in TOKEN.finditer(text):
        span = format_html('<span class="tq-json-{}">{}</span>', match.lastgroup, match.group())
        yield text[end : match.start()], span
        end = match.end()
    yield text[end:], ""
