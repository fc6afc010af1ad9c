"""Statements and commits of a piece of work, counted."""

from __future__ import annotations

from contextlib import contextmanager

from django.db import connection


@contextmanager
def costs(*, statements: int, commits: int | None = None):
    """Assert how many statements the block sends, and how many transactions it commits."""
    connection.force_debug_cursor = True
    before = len(connection.queries_log)
    try:
        yield
        sent = [entry["sql"] for entry in list(connection.queries_log)[before:]]
    finally:
        connection.force_debug_cursor = False
    begun = [sql for sql in sent if sql in {"BEGIN", "COMMIT", "ROLLBACK"} or sql.startswith("SAVEPOINT")]
    assert len(sent) - len(begun) == statements, sent
    if commits is not None:
        # In autocommit each statement is a commit of its own; between BEGIN and COMMIT all of them are one.
        assert begun.count("COMMIT") + (len(sent) - len(begun) if not begun else 0) == commits, sent
