"""The cells of a list with the names of their columns: a narrow window shows each row as a card, without a head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

register = template.Library()


@register.filter
def named_by(cells: Iterable[SafeString], headers: Iterable[Mapping[str, Any]]) -> list[SafeString]:
    """The cells of a row, each with its column's name as `data-name`.

    Args:
        cells: as the admin has written them, `<td class=…>…</td>`.
        headers: of their columns, in the order of the cells.
    """
    return [named(cell, str(header["text"])) for cell, header in zip(cells, headers, strict=False)]


def named(cell: SafeString, name: str) -> SafeString:
    start, rest = cell[:3], cell[3:]
    if start not in {"<td", "<th"} or "<" in name:  # the box that ticks all rows has no name
        return cell
    return SafeString(start) + format_html(' data-name="{}"', capfirst(name)) + SafeString(rest)
