"""Filtered lists of tasks and events, in keyset pages, which new rows do not shift."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db.models import Model

from taskqueue.api.parameters import Cursor, EventQuery, TaskQuery, invalid_query
from taskqueue.definitions import registry
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.errors import FieldError
from taskqueue.ids import earliest_at, latest_at
from taskqueue.models import Event, Pipeline, Task

if TYPE_CHECKING:
    from django.db.models import QuerySet

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows, newest first, and the cursors of the next and previous page."""

    rows: list[Row]
    next_cursor: str | None
    previous_cursor: str | None


def task_page(query: TaskQuery) -> Page[Task]:
    """The page of tasks for a query.

    Raises:
        InvalidQuery: there is no such pipeline.
    """
    return keyset_page(filter_tasks(task_queries.listing(), query), query)


def event_page(query: EventQuery) -> Page[Event]:
    events = Event.objects.order_by("-id")
    if query.name:
        events = events.filter(name=query.name)
    if query.received_after is not None:
        events = events.filter(id__gte=earliest_at(query.received_after), received_at__gt=query.received_after)
    if query.received_before is not None:
        events = events.filter(id__lt=latest_at(query.received_before), received_at__lt=query.received_before)
    return keyset_page(events, query)


def keyset_page(rows_in_order: QuerySet[Row], query: TaskQuery | EventQuery) -> Page[Row]:
    """A page of rows, whose ids sort by time. One row more than the limit is read to know whether there are others."""
    cursor: Any = query.cursor
    backwards = bool(cursor) and not cursor.older
    if cursor:
        rows_in_order = rows_in_order.filter(**{"pk__gt" if backwards else "pk__lt": cursor.row})
    if backwards:
        rows_in_order = rows_in_order.order_by("id")
    found = list(rows_in_order[: query.limit + 1])
    more = len(found) > query.limit
    rows = found[: query.limit]
    if backwards:
        rows.reverse()
    return Page(
        rows,
        next_cursor=cursor_at(rows[-1:], older=True) if backwards or more else None,
        previous_cursor=cursor_at(rows[:1], older=False) if (more if backwards else cursor) else None,
    )


def filter_tasks(tasks: QuerySet[Task], query: TaskQuery) -> QuerySet[Task]:
    """The tasks that match all filters of the query.

    Raises:
        InvalidQuery: there is no such pipeline.
    """
    if query.pipeline:
        refuse_unknown_pipeline(query.pipeline)
        tasks = tasks.filter(pipeline=query.pipeline)
    if query.status:
        tasks = tasks.filter(status__in=query.status)
    if query.key:
        tasks = tasks.filter(key=query.key)
    for label in query.label:
        name, _colon, value = label.partition(":")
        tasks = tasks.filter(labels__contains={name: value})
    if query.created_after is not None:
        tasks = tasks.filter(id__gte=earliest_at(query.created_after), created_at__gt=query.created_after)
    if query.created_before is not None:
        tasks = tasks.filter(id__lt=latest_at(query.created_before), created_at__lt=query.created_before)
    return tasks


def refuse_unknown_pipeline(name: str) -> None:
    # A query is needed only for a name that this code does not define: older code may have.
    if name not in registry.names() and not Pipeline.objects.filter(pk=name).exists():
        raise invalid_query([FieldError("/pipeline", f"no pipeline is called {name!r}")])


def cursor_at(rows: Iterable[Model], *, older: bool) -> str | None:
    """The cursor at one end of a page; None for an empty page."""
    return next((str(Cursor(row.pk, older)) for row in rows), None)
