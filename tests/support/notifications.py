"""Tell whether workers have been notified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from django.db import connection

from taskqueue.engine.runtime.notify import CHANNEL
from taskqueue.engine.worker.heartbeat_thread import private_connection
from tests.support.waiting import WAIT_TIMEOUT


@contextmanager
def notification_count() -> Iterator[Callable[[], int]]:
    """A function that returns how many notifications were sent since its last call."""
    with closing(private_connection()) as listener:
        listener.execute(f"LISTEN {CHANNEL}")

        def count() -> int:
            # PostgreSQL delivers notifications in the order of the commits, so this one comes last.
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, 'the end')", [CHANNEL])
            payloads: list[str] = []
            while "the end" not in payloads:
                payloads += [each.payload for each in listener.notifies(timeout=WAIT_TIMEOUT, stop_after=1)]
            return len(payloads) - 1

        yield count
