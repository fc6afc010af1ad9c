"""Chores: what has to be done although nobody calls, besides timers and dead workers.

Each is a sweep that several processes may do at once, and that finds nothing to do a second time.
"""

from __future__ import annotations

from collections.abc import Callable

from taskqueue.engine import statements
from taskqueue.engine.claims import known_code
from taskqueue.engine.slots import grant_all


def do_chores() -> int:
    """Do all of them; how many tasks are ready now that were not."""
    return sum(chore() for chore in CHORES)


def walk_on() -> int:
    """Let the next look at a pipeline's keys begin where the last one ended, when all that it saw were full."""
    statements.fetch(statements.WALK_ON, {**known_code(), "passed": []})
    return 0


CHORES: tuple[Callable[[], int], ...] = (walk_on, grant_all)
"""Each returns how many tasks it has made ready."""
