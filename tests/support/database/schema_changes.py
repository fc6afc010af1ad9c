"""Changes of the schema under workers that run."""

from __future__ import annotations

from django.db import connection, transaction


def change(statement: str) -> None:
    """Execute a statement that needs a table for itself, and wait for no lock for long."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        cursor.execute(statement)
