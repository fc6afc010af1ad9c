"""Run a statement on Django's connection, in one round trip, prepared where the settings allow it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections


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
    with django.wrap_database_errors, psycopg.Cursor(connection) as cursor:
        cursor.execute(statement, parameters, prepare=True)
        rows = cursor.fetchall() if cursor.description else []
    if django.queries_logged:
        django.queries_log.append({"sql": statement, "time": f"{time.perf_counter() - started_at:.3f}"})
    return rows
