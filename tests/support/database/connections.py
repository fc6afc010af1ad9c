"""Cut connections, as a restart of the server does."""

from __future__ import annotations

from django.db import connection


def cut_connections() -> None:
    """Terminate all client connections to this database except the test's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
