"""Wait for a condition, for as long as a busy machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds after which a condition that does not hold is a failure. How fast things are is measured in benchmarks."""


def eventually(condition: Callable[[], T], *, otherwise: Callable[[], str] = str) -> T:
    """Poll a condition until it holds, and return its first true answer.

    Args:
        condition: is called every 50 ms.
        otherwise: what the failure says besides, such as the log of a process.
    """
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not so within {PATIENCE} s\n{otherwise()}"
        time.sleep(0.05)
    return answer


def never(condition: Callable[[], Any], *, during: float) -> None:
    """Poll a condition for so many seconds, in which it must not hold."""
    until = time.monotonic() + during
    while time.monotonic() < until:
        assert not condition()
        time.sleep(0.05)
