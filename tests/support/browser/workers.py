"""A worker beside the browser."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from taskqueue import testing


def work() -> None:
    """Execute everything that is due."""
    beside(testing.work)


def beside(deed: Callable[[], object]) -> None:
    """Do something in a thread of its own: the test's has the event loop of the browser's driver."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(alone, deed).result(timeout=200)


def alone(deed: Callable[[], object]) -> None:
    """The same on a connection of the thread's own, closed at the end so that the test database can be dropped."""
    try:
        deed()
    finally:
        connections.close_all()
