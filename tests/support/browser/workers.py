"""Work in a thread, because the test's thread has the event loop of Playwright."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from taskqueue import testing


def work() -> None:
    """Execute all due tasks."""
    in_thread(testing.work)


def in_thread(action: Callable[[], object]) -> None:
    """Call a function in a thread of its own."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(with_own_connection, action).result(timeout=200)


def with_own_connection(action: Callable[[], object]) -> None:
    """Call a function, then close the thread's connections, so that the test database can be dropped."""
    try:
        action()
    finally:
        connections.close_all()
