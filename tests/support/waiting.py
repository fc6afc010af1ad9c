"""Wait for a condition, as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
WAIT_TIMEOUT = 120.0
"""Seconds after which a condition that does not hold is a failure. Benchmarks measure speed, not these tests."""


def eventually(condition: Callable[[], T], *, details: Callable[[], str] = str) -> T:
    """Poll a condition until it holds, and return its first true value.

    Args:
        condition: is called every 50 ms.
        details: text for the failure, such as the log of a process.
    """
    deadline = time.monotonic() + WAIT_TIMEOUT
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {WAIT_TIMEOUT} s\n{details()}"
        time.sleep(0.05)
    return value


def never(condition: Callable[[], Any], *, during: float) -> None:
    """Poll a condition for so many seconds, in which it must not hold."""
    until = time.monotonic() + during
    while time.monotonic() < until:
        assert not condition()
        time.sleep(0.05)
