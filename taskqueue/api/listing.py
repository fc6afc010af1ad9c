"""The list of tasks: filters, and pages by keyset, which stay where they are while new tasks arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskqueue.api.parameters import Cursor, TaskQuery, refusal
from taskqueue.definitions import registry
from taskqueue.engine import queries
from taskqueue.errors import Fault
from taskqueue.ids import earliest_at, latest_at
from taskqueue.models import Pipeline, Task

if TYPE_CHECKING:
    from django.db.models import QuerySet


@dataclass(frozen=True)
class Page:
    """Some tasks, newest first, and where it goes on."""

    tasks: list[Task]
    next_cursor: str | None
    previous_cursor: str | None


def page_of(query: TaskQuery) -> Page:
    """The page that a query asks for, by one query: a row more than fits tells whether there are others behind it.

    Raises:
        InvalidQuery: there is no such pipeline.
    """
    tasks = filtered(queries.listing(), query)
    cursor: Any = query.cursor
    backwards = bool(cursor) and not cursor.older
    if cursor:
        tasks = tasks.filter(pk__gt=cursor.task) if backwards else tasks.filter(pk__lt=cursor.task)
    if backwards:
        tasks = tasks.order_by("id")
    found = list(tasks[: query.limit + 1])
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
        raise refusal([Fault("/pipeline", f"no pipeline is called {name!r}")])


def edge(rows: Iterable[Task], *, older: bool) -> str | None:
    """The cursor at one end of a page; an empty page has none."""
    return next((str(Cursor(task.pk, older)) for task in rows), None)
