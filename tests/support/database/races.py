"""Threads with connections of their own that meet in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection, transaction

from taskqueue.engine.events import route as routing


def at_once(callers: int, deed: Callable[[], Any]) -> list[Any]:
    """Let several threads do something at the same moment; what each returned or raised."""
    barrier = threading.Barrier(callers)

    def call() -> Any:
        connection.ensure_connection()
        barrier.wait(timeout=90)
        try:
            return deed()
        except Exception as error:  # noqa: BLE001 - the tests look at it
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(callers) as pool:
        return [future.result(timeout=200) for future in [pool.submit(call) for _ in range(callers)]]


def until_a_lock_is_awaited(number: int = 1) -> None:
    """Return when so many backends of this database are blocked by another."""
    with connection.cursor() as cursor:
        for _ in range(2000):
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # or a transaction would see the same again
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database() AND pg_sleep(0.01) IS NOT NULL"
            )
            if cursor.fetchone()[0] >= number:
                return
    raise AssertionError("nobody waited")


class Held:
    """A deed in a transaction of its own that stays open until it is told to commit."""

    def __init__(self, deed):
        self.done, self.commit = threading.Event(), threading.Event()
        self.pool = ThreadPoolExecutor(1)
        self.future = self.pool.submit(self.hold, deed)
        assert self.done.wait(timeout=90)

    def hold(self, deed):
        try:
            with transaction.atomic():
                result = deed()
                self.done.set()
                assert self.commit.wait(timeout=90)
            return result
        finally:
            connection.close()

    def end(self):
        self.commit.set()
        result = self.future.result(timeout=90)
        self.pool.shutdown()
        return result


def elsewhere(deed):
    """Do something on another thread, which has to wait for a lock."""
    pool = ThreadPoolExecutor(1)

    def done():
        try:
            return deed()
        finally:
            connection.close()

    future = pool.submit(done)
    until_a_lock_is_awaited()
    return future


def die_after(monkeypatch, name):
    """Let whoever routes die when this function has done its part."""
    original = getattr(routing, name)

    def die(*facts):
        original(*facts)
        raise SystemExit

    monkeypatch.setattr(routing, name, die)
