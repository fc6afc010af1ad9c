"""Lists in keyset pages, newest first, which new rows do not shift."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Model
from pydantic import AfterValidator, Field

from taskqueue.api.fields import invalid
from taskqueue.api.parameters import Query
from taskqueue.ids import earliest_at, latest_at

if TYPE_CHECKING:
    from django.db.models import QuerySet

Row = TypeVar("Row", bound=Model)
PAGE_SIZE = 50
MAX_PAGE_SIZE = 200


@dataclass(frozen=True)
class Cursor:
    """A position in a list and the direction of the page: older rows or newer ones."""

    row: int
    """The row's id; of a UUID its number."""
    older: bool

    def __str__(self) -> str:
        return f"{'o' if self.older else 'n'}{self.row:032x}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        if not re.fullmatch(r"[on][0-9a-f]{32}", text):
            raise invalid("it must be the next_cursor or previous_cursor of an earlier answer")
        return cls(int(text[1:], 16), older=text[0] == "o")


class PageQuery(Query):
    """Which page of a list."""

    cursor: Annotated[str, AfterValidator(Cursor.parse)] = Field(
        default="", min_length=1, description="The `next_cursor` or `previous_cursor` of an earlier answer."
    )
    limit: int = Field(default=PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="Rows per page.")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, newest first, and the cursors of the next and previous page."""

    rows: list[Row]
    next_cursor: str | None
    previous_cursor: str | None


def keyset_page(rows_in_order: QuerySet[Row], query: PageQuery, *, end: UUID | None = None) -> Page[Row]:
    """A page of rows, whose ids sort by time. One row more than the limit is read to know whether there are others.

    Args:
        rows_in_order: the rows, newest first.
        query: which page.
        end: the last row that the page may read; None for all. Then a page with fewer rows has a cursor, too.
    """
    cursor: Any = query.cursor
    backwards = bool(cursor) and not cursor.older
    if cursor:
        rows_in_order = rows_in_order.filter(**{"pk__gt" if backwards else "pk__lt": cursor.row})
    if end is not None:
        rows_in_order = rows_in_order.filter(**{"pk__lte" if backwards else "pk__gte": end})
    if backwards:
        rows_in_order = rows_in_order.order_by("id")
    found = list(rows_in_order[: query.limit + 1])
    more = len(found) > query.limit
    rows = found[: query.limit]
    if backwards:
        rows.reverse()
    unread = None if end is None or more else str(Cursor(int(end), older=not backwards))
    older = cursor_at(rows[-1:], older=True) if backwards or more else unread
    newer = cursor_at(rows[:1], older=False) if (more if backwards else cursor) else unread if backwards else None
    return Page(rows, next_cursor=older, previous_cursor=newer)


def cursor_at(rows: Iterable[Model], *, older: bool) -> str | None:
    """The cursor at one end of a page; None for an empty page."""
    return next((str(Cursor(int(row.pk), older)) for row in rows), None)


def between(rows: QuerySet[Row], column: str, after: datetime | None, before: datetime | None) -> QuerySet[Row]:
    """The rows whose time of creation is between two others; the ids, which sort by time, serve the query."""
    if after is not None:
        rows = rows.filter(**{"id__gte": earliest_at(after), f"{column}__gt": after})
    if before is not None:
        rows = rows.filter(**{"id__lt": latest_at(before), f"{column}__lt": before})
    return rows
