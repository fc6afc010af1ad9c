"""Concurrent transactions: threads with their own connections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection, transaction

from taskqueue.engine.events import route as routing


def run_concurrently(callers: int, operation: Callable[[], Any]) -> list[Any]:
    """Run an operation in several threads at once; the result or error of each."""
    barrier = threading.Barrier(callers)

    def call() -> Any:
        connection.ensure_connection()
        barrier.wait(timeout=90)
        try:
            return operation()
        except Exception as error:  # noqa: BLE001 - the tests look at it
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(callers) as pool:
        return [future.result(timeout=200) for future in [pool.submit(call) for _ in range(callers)]]


def wait_for_blocked_session(number: int = 1) -> None:
    """Wait until so many sessions of this database are blocked by a lock."""
    with connection.cursor() as cursor:
        for _ in range(2000):
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction would read cached statistics
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database() AND pg_sleep(0.01) IS NOT NULL"
            )
            if cursor.fetchone()[0] >= number:
                return
    raise AssertionError("no session is blocked")


class OpenTransaction:
    """An operation in a transaction that stays open until `end` commits it, or `roll_back` undoes it."""

    def __init__(self, operation):
        self.done, self.ended, self.is_undone = threading.Event(), threading.Event(), False
        self.pool = ThreadPoolExecutor(1)
        self.future = self.pool.submit(self._run, operation)
        assert self.done.wait(timeout=90)

    def _run(self, operation):
        try:
            with transaction.atomic():
                result = operation()
                self.done.set()
                assert self.ended.wait(timeout=90)
                if self.is_undone:
                    transaction.set_rollback(True)
            return result
        finally:
            connection.close()

    def roll_back(self):
        self.is_undone = True
        return self.end()

    def end(self):
        self.ended.set()
        result = self.future.result(timeout=90)
        self.pool.shutdown()
        return result


def run_until_blocked(operation):
    """Start an operation in another thread, and return its future when it waits for a lock."""
    pool = ThreadPoolExecutor(1)

    def done():
        try:
            return operation()
        finally:
            connection.close()

    future = pool.submit(done)
    wait_for_blocked_session()
    return future


def crash_after(monkeypatch, name):
    """Crash the process that routes an event after this function."""
    original = getattr(routing, name)

    def crash(*arguments):
        original(*arguments)
        raise SystemExit

    monkeypatch.setattr(routing, name, crash)
