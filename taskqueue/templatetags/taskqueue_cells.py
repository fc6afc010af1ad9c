"""Add column names to the cells of a list: a narrow window shows each row as a card, without a table head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

register = template.Library()


@register.filter
def with_column_names(cells: Iterable[SafeString], headers: Iterable[Mapping[str, Any]]) -> list[SafeString]:
    """Set each cell's `data-name` to its column's name.

    Args:
        cells: HTML of the admin, `<td class=…>…</td>`.
        headers: of the columns, in the order of the cells.
    """
    return [with_name(cell, str(header["text"])) for cell, header in zip(cells, headers, strict=False)]


def with_name(cell: SafeString, name: str) -> SafeString:
    start, rest = cell[:3], cell[3:]
    if start not in {"<td", "<th"} or "<" in name:  # the column of check boxes has HTML for a name
        return cell
    return SafeString(start) + format_html(' data-name="{}"', capfirst(name)) + SafeString(rest)
