"""Recovery: what a dead worker held is queued again, and the lost try is written down."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from taskqueue.engine import statements
from taskqueue.engine.stacks import left_stack_of

LOCK_SPACE: Final = 0x7461736B
"""The first half of each worker's advisory lock ("task" in ASCII), apart from other users of such locks."""

SILENCE: Final = timedelta(seconds=30)
"""A worker that has not beaten for so long is dead although its lock is held: its process was stopped, or is stuck.

A machine that is gone does not take so long: the server drops its connections, and the lock with them, when it no
longer answers (`liveness.private_connection`).
"""

SETTLING: Final = timedelta(seconds=5)
"""After a start of the database, how long workers have to take their locks again."""

POISON: Final = 5
"""Workers lost in one step before the task fails."""


def recover(worker: int, *, reason: str) -> int:
    """End a worker and give back what it held; the number of its tasks.

    Called for the same worker twice, the second call does nothing. A worker that was only silent finds its row ended,
    its writes refused by the fence, and goes on as a new one.
    """
    stack = left_stack_of(worker)
    if stack:
        reason = "it was ended in a step that did not heed its timeout"
    values = {"worker": worker, "reason": reason, "poison": POISON, "stack": stack}
    return len(statements.fetch(statements.RECOVER, values))
