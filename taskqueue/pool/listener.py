"""Waiting for the engine to ring: LISTEN on a connection of its own."""

from __future__ import annotations

import os
import time
from typing import Any

import psycopg
from django import db
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from taskqueue.engine.runtime import notify
from taskqueue.engine.runtime.sessions import is_server_itself
from taskqueue.pool.shared_memory import STOP

SLICE = 0.25
"""Longest single wait on the socket, so that a stop is seen soon."""
POLL = 0.2
"""How often to look where LISTEN does not work."""
TRY_AGAIN_AFTER = 60.0


class Listener:
    """Hears `notify.ring`, in the process that first calls `wait`.

    A pooler such as pgbouncer swallows notifications without a word. It gives itself away by announcing another
    process id than the server's own; then, and where LISTEN is refused, waiting is cut short to a poll.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._database: BaseDatabaseWrapper | None = None
        self._pid = 0
        self._deaf_until = 0.0

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it rings, or until this process is to stop. Whether it has rung.

        Raises:
            django.db.Error, psycopg.Error: the database is gone; the next call connects again.
        """
        connection = self._connection()
        if connection is None:
            STOP.wait(min(seconds, POLL))
            return False
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            if list(connection.notifies(timeout=min(left, SLICE), stop_after=1)):
                return True
            if left <= SLICE or STOP.is_set():
                return False

    def close(self) -> None:
        """Let go of the connection; the next `wait` opens another."""
        database, self._database = self._database, None
        if database is not None and self._pid == os.getpid():
            database.close()

    def _connection(self) -> psycopg.Connection[Any] | None:
        if self._pid != os.getpid():
            # Forked: the socket belongs to the parent, who goes on using it.
            self._database, self._pid, self._deaf_until = None, os.getpid(), 0.0
        if self._database is None and time.monotonic() >= self._deaf_until:
            self._open()
        return self._database.connection if self._database is not None else None

    def _open(self) -> None:
        database = db.connections.create_connection(self._alias)
        database.ensure_connection()
        connection: psycopg.Connection[Any] = database.connection
        if listens(connection):
            self._database = database
        else:
            database.close()
            self._deaf_until = time.monotonic() + TRY_AGAIN_AFTER


def listens(connection: psycopg.Connection[Any]) -> bool:
    """Start listening; whether notifications will really arrive on this connection."""
    if not is_server_itself(connection):
        return False
    try:
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(notify.CHANNEL)))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.ObjectNotInPrerequisiteState):
        return False
    return True
