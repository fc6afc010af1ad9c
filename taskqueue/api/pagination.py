"""Lists of tasks and events: filters, and pages by keyset, which stay where they are while new tasks arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db.models import Model

from taskqueue.api.parameters import Cursor, EventQuery, TaskQuery, refusal
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
    """Some rows, newest first, and where it goes on."""

    rows: list[Row]
    next_cursor: str | None
    previous_cursor: str | None


def page_of(query: TaskQuery) -> Page[Task]:
    """The page of tasks that a query asks for.

    Raises:
        InvalidQuery: there is no such pipeline.
    """
    return cut(filtered(task_queries.listing(), query), query)


def page_of_events(query: EventQuery) -> Page[Event]:
    """The page of events that a query asks for."""
    events = Event.objects.order_by("-id")
    if query.name:
        events = events.filter(name=query.name)
    if query.received_after is not None:
        events = events.filter(id__gte=earliest_at(query.received_after), received_at__gt=query.received_after)
    if query.received_before is not None:
        events = events.filter(id__lt=latest_at(query.received_before), received_at__lt=query.received_before)
    return cut(events, query)


def cut(rows_in_order: QuerySet[Row], query: TaskQuery | EventQuery) -> Page[Row]:
    """A page of rows whose ids sort by time, by one query: a row more than fits tells whether there are others."""
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
        next_cursor=edge(rows[-1:], older=True) if backwards or more else None,
        previous_cursor=edge(rows[:1], older=False) if (more if backwards else cursor) else None,
    )


def filtered(tasks: QuerySet[Task], query: TaskQuery) -> QuerySet[Task]:
    """Those that the caller wants to see.

    Raises:
        InvalidQuery: there is no such pipeline.
    """
    if query.pipeline:
        known_pipeline(query.pipeline)
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


def known_pipeline(name: str) -> None:
    """Refuse a pipeline that neither this code nor any former one knows; only then is a query needed."""
    if name not in registry.names() and not Pipeline.objects.filter(pk=name).exists():
        raise refusal([FieldError("/pipeline", f"no pipeline is called {name!r}")])


def edge(rows: Iterable[Model], *, older: bool) -> str | None:
    """The cursor at one end of a page; an empty page has none."""
    return next((str(Cursor(row.pk, older)) for row in rows), None)
