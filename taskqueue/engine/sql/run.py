"""Run a statement on Django's connection, in one round trip, and make model instances of its rows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final, LiteralString

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Field, Model

Converter = Callable[[Any, Any, Any], Any]
"""What the ORM applies to the value of a column."""
FieldLayout = tuple["Field[Any, Any]", int, list[Converter]]
"""A field, its position among the columns, and its converters."""
PLACEHOLDER: Final = re.compile(r"%(?:%|\((\w+)\)s)")


def fetch(statement: LiteralString, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run one statement on Django's connection and return its rows.

    It is prepared unless `OPTIONS["prepare_threshold"]` is None, as it is by default: behind a pooler in transaction
    mode the next statement may reach another server process, which has not prepared it. psycopg reads that setting.

    Raises:
        django.db.Error: as every Django cursor does.
    """
    django = connections[DEFAULT_DB_ALIAS]
    django.close_if_health_check_failed()
    django.ensure_connection()
    connection: psycopg.Connection[Any] = django.connection
    started_at = time.perf_counter()
    text, names = numbered(statement)
    with django.wrap_database_errors, psycopg.RawCursor(connection) as cursor:
        cursor.execute(text, [parameters[name] for name in names], prepare=True)
        # `cursor.description` would make an object of each column.
        rows = cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []
    if django.queries_logged:
        django.queries_log.append({"sql": statement, "time": f"{time.perf_counter() - started_at:.3f}"})
    return rows


@cache
def numbered(statement: LiteralString) -> tuple[bytes, tuple[str, ...]]:
    """A statement with PostgreSQL's numbered placeholders, and the names of its parameters in their order.

    psycopg replaces names too, but of a text as long as a claim it does so again at every execution.
    """
    numbers: dict[str, int] = {}

    def placeholder(found: re.Match[str]) -> str:
        return f"${numbers.setdefault(found[1], len(numbers) + 1)}" if found[1] else "%"

    return PLACEHOLDER.sub(placeholder, statement).encode(), tuple(numbers)


def selected(alias: str, columns: tuple[str, ...]) -> str:
    """Columns of a table, as `SELECT` takes them; `instance` makes a model instance of their values."""
    return ", ".join(f'{alias}."{column}"' for column in columns)


def instance(model: type[Model], columns: tuple[str, ...], values: Iterator[Any]) -> Any:
    """A model instance of the next values, one per column, as the ORM would make it; other fields are deferred.

    Returns:
        The instance; None if the first value is null, because an outer join found no row.
    """
    taken = tuple(islice(values, len(columns)))
    if taken[0] is None:
        return None
    names, fields = layout(model, columns)
    return model.from_db(
        DEFAULT_DB_ALIAS,
        names,
        [converted(field, taken[at], converters) if converters else taken[at] for field, at, converters in fields],
    )


@cache
def layout(model: type[Model], columns: tuple[str, ...]) -> tuple[frozenset[str], list[FieldLayout]]:
    """What `from_db` needs: the names, and the fields in the model's order."""
    connection = connections[DEFAULT_DB_ALIAS]
    fields: list[FieldLayout] = []
    for field in model._meta.concrete_fields:
        if field.attname in columns:
            column = field.cached_col
            converters = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
            fields.append((field, columns.index(field.attname), converters))
    return frozenset(columns), fields


def converted(field: Field[Any, Any], value: Any, converters: list[Converter]) -> Any:
    for converter in converters:
        value = converter(value, field.cached_col, connections[DEFAULT_DB_ALIAS])
    return value
