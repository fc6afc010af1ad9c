"""Schema changes while workers run."""

from __future__ import annotations

from django.db import connection, transaction


def change(statement: str) -> None:
    """Execute a statement that locks a table, with a short lock timeout."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute(statement)
