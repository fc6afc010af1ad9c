"""Detect a silent database: its connections are open, and no answer ever arrives.

To the kernel a stopped or frozen server looks like a busy one, so no timeout of TCP or of the server helps. A web
process probes on another connection: while the probe is answered, the statement is only slow, and it keeps waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Final

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

SILENCE_TIMEOUT = 2.0
"""Seconds without an answer after which the database is probed, and probed again while the statement lasts."""
PROBE_SECONDS: Final = 2
"""How long a probe may take; the least that libpq allows for connecting."""
MESSAGE: Final = "the database has fallen silent: neither this connection nor a new one is answered"


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the database falls silent."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer for as long as the database answers probes."""
        return super().wait(with_timeout(gen, SILENCE_TIMEOUT, self._close_if_silent), *args, **kwargs)

    def _close_if_silent(self) -> None:
        if server_probe.is_silent(self):
            self.close()
            raise psycopg.OperationalError(MESSAGE)


class ProbeConnection(psycopg.Connection[Any]):
    """A connection on which each answer has to come within `PROBE_SECONDS`."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer no longer than that."""
        return super().wait(with_timeout(gen, PROBE_SECONDS, self._close), *args, **kwargs)

    def _close(self) -> None:
        self.close()
        raise psycopg.errors.ConnectionTimeout(MESSAGE)


def with_timeout(
    steps: Generator[Any, Any, Any], timeout: float, on_timeout: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """psycopg's steps of one exchange, with a call each time nothing has arrived for this many seconds."""
    received_at = time.monotonic()
    try:
        awaited = next(steps)
        while True:
            ready = yield awaited
            now = time.monotonic()
            if ready:
                received_at = now
            elif now - received_at >= timeout:
                on_timeout()
                received_at = time.monotonic()
            awaited = steps.send(ready)
    except StopIteration as end:
        return end.value


class ServerProbe:
    """Probes the database, one thread at a time. The answer holds for all threads that wait just then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._probed_at = 0.0
        self._is_silent = False

    def is_silent(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether a new connection like this one gets no answer. A refusal is an answer."""
        with self._lock:
            if time.monotonic() - self._probed_at > SILENCE_TIMEOUT:
                self._is_silent = not is_answered(connection)
                self._probed_at = time.monotonic()
            return self._is_silent


def is_answered(connection: psycopg.Connection[Any]) -> bool:
    info = connection.info
    try:
        # A pooler accepts connections by itself. Only the answer to a query shows that there is a server behind it.
        with closing(ProbeConnection.connect(info.dsn, password=info.password, connect_timeout=PROBE_SECONDS)) as other:
            other.execute("SELECT 1")
    except psycopg.errors.ConnectionTimeout:
        return False
    except psycopg.Error:
        return True
    return True


server_probe = ServerProbe()
"""This process's."""


def detect_silence(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Have a new connection of Django's closed when the database falls silent."""
    if type(connection.connection) is psycopg.Connection:
        # Django has no setting for the class. This one adds no attributes to the object.
        connection.connection.__class__ = WatchedConnection
