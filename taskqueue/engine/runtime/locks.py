"""Patience: how long a sweep waits for what others hold, and a reader for an answer; and who tries again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from django.db import Error, OperationalError, connection
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

from taskqueue.engine import sql
from taskqueue.engine.runtime.database_errors import AWAY

logger = logging.getLogger("taskqueue.engine")

Result = TypeVar("Result")
PATIENCE = "200ms"
"""So long a sweep waits for a lock that somebody else holds."""
MOST_DEADLOCKS: Final = 5
"""Each takes a second to be found, and lets somebody else go on; so many others at once are more than chance."""


def is_busy(error: Error) -> bool:
    """Whether a statement failed only because of a lock: one that was held for longer than that, or a deadlock."""
    return isinstance(error.__cause__, LockNotAvailable | DeadlockDetected)


def attempted(do: Callable[[], int], deed: str, *, slow: str = "takes too long", broken: str = "fails") -> int:
    """What it returns; 0 when it failed. Then it is left for the next look, and logged unless it met only a lock.

    Args:
        do: one part of a sweep, whose failure must not keep the others from being done.
        deed: how the log shall call it.
        slow: what the log says of it when a statement ran out of time.
        broken: what it says when it failed in any other way.

    Raises:
        django.db.OperationalError, django.db.InterfaceError: the database is away.
    """
    try:
        return do()
    except AWAY as error:
        if ran_out_of_time(error):
            logger.exception("%s %s; it is tried again at the next look", deed, slow)
        elif not is_busy(error):
            raise
    except Exception:
        logger.exception("%s %s; it is tried again at the next look", deed, broken)
    return 0


def done_in_spite_of_deadlocks(do: Callable[[], Result]) -> Result:
    """Do a whole transaction, and once more when it was the victim of a deadlock: the other one has gone on by then.

    In a transaction of the caller's it is done once: what went before cannot be done anew.
    """
    for _ in range(MOST_DEADLOCKS):
        try:
            return do()
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected) or connection.in_atomic_block:
                raise
    return do()


def bound_reads(longest: timedelta) -> None:
    """Until the present transaction ends, let no statement take longer than this."""
    milliseconds = max(1, longest // timedelta(milliseconds=1))
    sql.fetch(sql.BOUND_READS, {"milliseconds": str(milliseconds)})


def ran_out_of_time(error: Error) -> bool:
    """Whether a statement failed only because it took longer than it was allowed to."""
    return isinstance(error.__cause__, QueryCanceled)
