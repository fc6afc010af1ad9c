"""Chores: what has to be done although nobody calls, besides timers and dead workers.

Each is a sweep that several processes may do at once, and that finds nothing to do a second time.
"""

from __future__ import annotations

from collections.abc import Callable

CHORES: tuple[Callable[[], int], ...] = ()
"""Each returns how many tasks it has made ready."""


def do_chores() -> int:
    """Do all of them; how many tasks are ready now that were not."""
    return sum(chore() for chore in CHORES)
