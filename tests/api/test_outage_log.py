"""A web process logs the beginning and the end of an outage of the database, each by one line."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError, connection

BEGUN = "The database does not answer"
OVER = "The database answers again"


@pytest.fixture
def unreachable(transactional_db, api, admin_client):
    """A database to which no connection can be made, until `mended` is called."""
    patch = pytest.MonkeyPatch()

    def refuse(_parameters):
        raise OperationalError("connection refused\n\tIs the server running?")

    api.get("/api/tasks")  # the first request sets up what a web process logs
    connection.close()
    patch.setattr(connection, "get_new_connection", refuse)
    yield patch.undo
    patch.undo()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What is logged of the outage."""
    return [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.name == "taskqueue.engine" and record.getMessage().startswith((BEGUN, OVER))
    ]


@pytest.mark.parametrize("address", ["/api/tasks", "/api/health/ready", "/admin/"])
def test_an_outage_is_logged_at_its_begin_and_end(unreachable, api, admin_client, caplog, address):
    caller = admin_client if address == "/admin/" else api.client
    for _ in range(3):
        assert caller.get(address).status_code == 503
    begun = (logging.ERROR, f"{BEGUN}: connection refused Is the server running?")
    assert lines(caplog) == [begun]

    unreachable()
    for _ in range(2):
        assert caller.get(address).status_code == 200
        connection.close()

    assert lines(caplog) == [begun, (logging.WARNING, OVER)]


def test_a_slow_statement_is_not_an_outage(api, caplog):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 1")

        def slow(run, sql, parameters, *rest):
            if "taskqueue_task" in sql:
                sql, parameters = "SELECT pg_sleep(1)", None
            return run(sql, parameters, *rest)

        with connection.execute_wrapper(slow):
            assert api.get("/api/tasks").status_code == 503

    assert lines(caplog) == []
