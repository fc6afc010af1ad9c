"""Wait for notifications of the engine: LISTEN on a connection of its own."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from django import db
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from taskqueue.engine.runtime import notify
from taskqueue.engine.runtime.sessions import is_direct_connection
from taskqueue.pool.shared_memory import STOP

MAX_SOCKET_WAIT = 0.25
"""Seconds of one wait on the socket, so that a stop is noticed soon."""
POLL_SECONDS = 0.2
"""How often to look for work where LISTEN does not work."""
RETRY_LISTEN_AFTER = 60.0


class Listener:
    """Receives notifications in the process that calls `wait`, which must not fork afterwards.

    A pooler such as pgbouncer discards notifications without an error. It shows itself by another process id than the
    server's own. Behind a pooler, and where LISTEN is refused, `wait` polls.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._database: BaseDatabaseWrapper | None = None
        self._poll_until = 0.0

    def wait(self, seconds: float) -> bool:
        """Wait for a notification, or until this process is to stop. Returns whether a notification came.

        Raises:
            django.db.Error, psycopg.Error: the connection is lost; the next call connects again.
        """
        connection = self._connection()
        if connection is None:
            STOP.wait(min(seconds, POLL_SECONDS))
            return False
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            if list(connection.notifies(timeout=min(left, MAX_SOCKET_WAIT), stop_after=1)):
                return True
            if left <= MAX_SOCKET_WAIT or STOP.is_set():
                return False

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _connection(self) -> psycopg.Connection[Any] | None:
        if self._database is None and time.monotonic() >= self._poll_until:
            self._open()
        return self._database.connection if self._database is not None else None

    def _open(self) -> None:
        database = db.connections.create_connection(self._alias)
        database.ensure_connection()
        if try_listen(database.connection):
            self._database = database
        else:
            database.close()
            self._poll_until = time.monotonic() + RETRY_LISTEN_AFTER


def try_listen(connection: psycopg.Connection[Any]) -> bool:
    """Start listening. Returns whether notifications will really arrive on this connection."""
    if not is_direct_connection(connection):
        return False
    try:
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(notify.CHANNEL)))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.ObjectNotInPrerequisiteState):
        return False
    return True
