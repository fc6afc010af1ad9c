"""Count statements and commits."""

from __future__ import annotations

from contextlib import contextmanager

from django.db import connection, connections


@contextmanager
def costs(*, statements: int, commits: int | None = None):
    """Assert the number of statements and commits of a block."""
    connection.force_debug_cursor = True
    before = len(connection.queries_log)
    try:
        yield
        sent = [entry["sql"] for entry in list(connection.queries_log)[before:]]
    finally:
        connection.force_debug_cursor = False
    transactional = [sql for sql in sent if sql in {"BEGIN", "COMMIT", "ROLLBACK"} or sql.startswith("SAVEPOINT")]
    assert len(sent) - len(transactional) == statements, sent
    if commits is not None:
        # In autocommit each statement is a commit of its own; between BEGIN and COMMIT all of them are one.
        assert (
            transactional.count("COMMIT") + (len(sent) - len(transactional) if not transactional else 0) == commits
        ), sent


def commits() -> int:
    """The number of transactions that this database has ended, as another session sees it."""
    session = connections.create_connection("default")
    try:
        with session.cursor() as cursor:
            cursor.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
            return int(cursor.fetchone()[0])
    finally:
        session.close()
