"""The database falls silent: every connection stays open, and no data arrives."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest
from django.db import connection

from taskqueue.embedded.base import data_directory_of
from taskqueue.embedded.server import address_of
from taskqueue.engine.runtime import silent_server
from taskqueue.engine.runtime.silent_server import ServerProbe, WatchedConnection
from tests.support.processes.processes import free_port, http_status, running
from tests.support.processes.proxy import proxied
from tests.support.waiting import eventually

BODY = json.dumps({"pipeline": "demo/task", "payload": {"label": "silent"}}).encode()


@pytest.fixture
def proxy(transactional_db):
    """A proxy to the test's database that can fall silent."""
    server = address_of(data_directory_of(connection.settings_dict))
    with proxied(f"{server['host']}/.s.PGSQL.{server['port']}") as proxy:
        yield proxy


@pytest.fixture
def url(proxy):
    user = address_of(data_directory_of(connection.settings_dict))["user"]
    return f"postgres://{user}@127.0.0.1:{proxy.port}/{connection.settings_dict['NAME']}"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(silent_server, "SILENCE_TIMEOUT", 0.1)
    monkeypatch.setattr(silent_server, "server_probe", ServerProbe())


def test_an_unanswered_statement_fails_and_closes_its_connection(proxy, url, impatient):
    with closing(WatchedConnection.connect(url, autocommit=True)) as session:
        session.execute("SELECT 1")
        proxy.fall_silent()

        with pytest.raises(psycopg.OperationalError, match="has fallen silent"):
            session.execute("SELECT 1")

        assert session.closed


def test_a_slow_statement_may_take_its_time(url, impatient, monkeypatch):
    asked, ask = [], silent_server.is_answered

    def answers(session: psycopg.Connection[Any]) -> bool:
        asked.append(ask(session))
        return asked[-1]

    monkeypatch.setattr(silent_server, "is_answered", answers)

    with closing(WatchedConnection.connect(url, autocommit=True)) as session:
        (row,) = session.execute("SELECT 1 FROM pg_sleep(1)").fetchall()

    assert row == (1,)
    assert set(asked) == {True}


def test_a_database_that_refuses_new_connections_is_not_silent(proxy, url, impatient):
    with closing(WatchedConnection.connect(url, autocommit=True)) as session:
        proxy.refuse_new()

        assert session.execute("SELECT 1 FROM pg_sleep(0.5)").fetchall() == [(1,)]


@pytest.mark.slow
@pytest.mark.process
def test_requests_fail_fast_and_recover_with_the_database(proxy, url, tmp_path):
    port, log = free_port(), tmp_path / "web.log"
    environment = {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "demo.settings", "DEBUG": "true", "PORT": str(port)}
    site = f"http://127.0.0.1:{port}/api"
    with running([sys.executable, "-m", "gunicorn", "demo.wsgi"], env={**os.environ, **environment}, log=log):
        eventually(lambda: http_status(f"{site}/tasks") == 200, details=log.read_text)
        proxy.fall_silent()

        with ThreadPoolExecutor() as callers:
            refused = callers.map(
                problem_of, [f"{site}/health/ready", f"{site}/tasks", f"{site}/tasks"], [None, None, BODY]
            )
            assert http_status(f"{site}/health/live") == 200
            assert list(refused) == [(503, "not-ready"), (503, "database-unavailable"), (503, "database-unavailable")]

        proxy.go_on()
        eventually(lambda: http_status(f"{site}/health/ready") == 200, details=log.read_text)
        # Each process that noticed the outage logs its end at its next request.
        over = "WARNING taskqueue.engine: The database answers again"
        eventually(lambda: http_status(f"{site}/tasks") == 200 and over in log.read_text())


def problem_of(address: str, body: bytes | None = None) -> tuple[int, str]:
    """The status and the error code of an address, well before a client times out."""
    request = Request(address, body, {"Content-Type": "application/json"})  # noqa: S310 - a server of ours
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=200)  # noqa: S310 - the same
    with refused.value as answer:
        return answer.code, json.load(answer)["code"]
