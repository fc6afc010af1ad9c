"""The thread that keeps the heartbeats of a worker process, and its connection to the database."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Any, LiteralString, Protocol

import psycopg
from django.db import Error

from taskqueue.engine.author_code.chunks import FLUSH_INTERVAL, ChunkBuffer, flush_unless_busy
from taskqueue.engine.runtime.engine_threads import ENGINE_THREADS
from taskqueue.engine.runtime.forks import private_connections
from taskqueue.engine.runtime.sessions import APPLICATION_NAME, private_wrapper, session_name

ROLE = "heartbeat"
CHECK_INTERVAL = 0.25
"""Seconds between checks of what the workers do. Shorter steps are never written."""
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
"""A statement met a lock or the statement timeout; its session is sound."""
NO_WRITES = (psycopg.errors.ReadOnlySqlTransaction,)

logger = logging.getLogger("taskqueue.workers")

END_QUERY_OF_LOST_CLIENT: LiteralString = "SELECT set_config('client_connection_check_interval', '1000', false)"
"""In milliseconds. Without it the server executes the query of a killed worker to its end."""
DROP_AFTER_TEN_SECONDS: LiteralString = (
    "SELECT set_config('tcp_keepalives_idle', '4', false), set_config('tcp_keepalives_interval', '2', false), "
    "set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false)"
)


class Checked(Protocol):
    """A worker's heartbeat, as its thread sees it."""

    def check(self, *, beats_only: bool) -> bool:
        """Write what is due, or the heartbeat only. Returns whether a statement waited for a lock in vain."""

    def buffers(self) -> list[ChunkBuffer]:
        """What its steps write for callers."""

    def lose_lock(self) -> None:
        """Note that the connection was lost, and with it the worker's advisory lock."""

    def release_all(self) -> None:
        """Release what the worker executes and has claimed."""


class HeartbeatThread:
    """Checks the workers of one process until each has stopped, and reconnects after a lost connection.

    Attributes:
        guard: held while a worker is checked, registered or stopped.
    """

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self._workers: list[Checked] = []
        self._connection: psycopg.Connection[Any] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{ENGINE_THREADS}heartbeat", daemon=True)

    def add(self, worker: Checked) -> None:
        """Check a worker from now on. Under the guard."""
        self._workers.append(worker)
        if len(self._workers) == 1:
            self._thread.start()

    def remove(self, worker: Checked) -> bool:
        """Check a worker no more. Under the guard. Returns whether it was the last one: then the thread ends."""
        self._workers = [each for each in self._workers if each is not worker]
        if not self._workers:
            self._stopped.set()
        return not self._workers

    def open(self) -> psycopg.Connection[Any]:
        """The connection, which is opened when there is none. Under the guard.

        Raises:
            django.db.Error, psycopg.Error: the database is unreachable, or all workers have stopped.
        """
        if self._stopped.is_set():
            raise psycopg.OperationalError("the heartbeats of this process have stopped")
        if self._connection is not None:
            try:
                self._connection.pgconn.consume_input()  # raises when the server has closed the connection
            except psycopg.Error:
                self.close()
        if self._connection is None:
            self._connection = private_connection(ROLE)
        return self._connection

    def close(self) -> None:
        """Close the connection, and with it the advisory locks of all workers. Under the guard."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for worker in self._workers:
            worker.lose_lock()

    def execute(self, statement: LiteralString, values: dict[str, Any]) -> int:
        """Run a statement on the connection; how many rows it changed. Under the guard."""
        if self._connection is None:
            raise psycopg.OperationalError("the heartbeat has no connection")
        return self._connection.execute(statement, values).rowcount

    def release_others(self, worker: Checked) -> None:
        """Release the tasks of all workers but this one. Under the guard. What fails is left to recovery."""
        for other in self._workers:
            if other is not worker:
                with suppress(psycopg.Error, Error):
                    other.release_all()

    def _run(self) -> None:
        checked_at, pause = time.monotonic(), CHECK_INTERVAL
        while not self._stopped.wait(pause):
            with self.guard:
                if self._stopped.is_set():
                    return
                has_chunks = self._add_chunks()
                if not has_chunks or time.monotonic() - checked_at >= CHECK_INTERVAL:
                    self._check_all()
                    checked_at = time.monotonic()
            # While steps write, their chunks are added more often than the workers are checked.
            pause = FLUSH_INTERVAL if has_chunks else CHECK_INTERVAL

    def _add_chunks(self) -> bool:
        """Add what steps have written for callers. Returns whether there was any; what fails is tried again later."""
        buffers = [buffer for worker in self._workers for buffer in worker.buffers() if buffer]
        if buffers:
            try:
                connection = self.open()
                flush_unless_busy(buffers, lambda statement, values: connection.execute(statement, values).fetchall())
            except LOCKED:
                pass
            except (psycopg.Error, Error) as error:
                if self._is_lost_by(error):
                    self.close()
        return bool(buffers)

    def _check_all(self) -> None:
        """Check each worker. An error of one leaves the others their heartbeats and their locks."""
        meets_locks = False
        for worker in list(self._workers):
            try:
                self.open()
                # After a worker that waited for a lock the others write their rows only: many waits would take long.
                meets_locks = worker.check(beats_only=meets_locks) or meets_locks
            except LOCKED:
                meets_locks = True
            except (psycopg.Error, Error) as error:
                if self._is_lost_by(error):
                    self.close()
                    return
            except Exception:  # without this thread the workers would go on under dead rows
                logger.exception("The heartbeat of a worker failed; it is retried")

    def _is_lost_by(self, error: BaseException) -> bool:
        """Whether a new connection is needed: this one is broken, or leads to a server that accepts no writes."""
        return self._connection is None or self._connection.closed or isinstance(error, NO_WRITES)


def private_connection(role: str = "private") -> psycopg.Connection[Any]:
    """A new autocommit connection with Django's parameters, with this role in its application name.

    The server drops it ten seconds after this machine is gone. A lock is awaited for a second, a statement for ten.
    """
    wrapper = private_wrapper(**{APPLICATION_NAME: session_name(role)})
    wrapper.connect()
    connection: psycopg.Connection[Any] = wrapper.connection
    connection.execute("SELECT set_config('lock_timeout', '1s', false), set_config('statement_timeout', '10s', false)")
    drop_when_unreachable(connection)
    private_connections.add(connection)
    return connection


def drop_when_unreachable(connection: psycopg.Connection[Any]) -> None:
    """Let the server drop a connection, with its locks and its transaction, when this process or machine is gone."""
    with suppress(psycopg.errors.InvalidParameterValue):  # a server on Windows does not notice it
        connection.execute(END_QUERY_OF_LOST_CLIENT)
    if connection.info.host and not connection.info.host.startswith("/"):
        connection.execute(DROP_AFTER_TEN_SECONDS)
