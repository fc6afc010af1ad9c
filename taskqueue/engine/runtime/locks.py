"""Lock and statement timeouts: how long a sweep waits for locks, how long a read may take, and what retries."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from django.db import Error, OperationalError, connection
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

from taskqueue.engine import sql
from taskqueue.engine.runtime.database_errors import CONNECTION_ERRORS

logger = logging.getLogger("taskqueue.engine")

Result = TypeVar("Result")
LOCK_TIMEOUT = "200ms"
"""How long a sweep waits for a lock that another transaction holds."""
MAX_DEADLOCKS: Final = 5
"""PostgreSQL takes a second to find each, and lets another transaction continue; more in a row are no coincidence."""


def is_lock_conflict(error: Error) -> bool:
    """Whether a statement failed only because of a lock: it was not available in time, or there was a deadlock."""
    return isinstance(error.__cause__, LockNotAvailable | DeadlockDetected)


def is_statement_timeout(error: Error) -> bool:
    return isinstance(error.__cause__, QueryCanceled)


def run_or_log(do: Callable[[], int], name: str) -> int:
    """Run one part of a sweep; its failure must not stop the other parts.

    Args:
        do: the part. It returns how much it did.
        name: its name in the log.

    Returns:
        What `do` returned; 0 when it failed. The next look repeats it. A lock conflict is not logged.

    Raises:
        django.db.OperationalError, django.db.InterfaceError: the database is away.
    """
    try:
        return do()
    except CONNECTION_ERRORS as error:
        if is_statement_timeout(error):
            logger.exception("%s took too long; it is tried again at the next look", name)
        elif not is_lock_conflict(error):
            raise
    except Exception:
        logger.exception("%s failed; it is tried again at the next look", name)
    return 0


def retry_deadlocks(do: Callable[[], Result]) -> Result:
    """Run a whole transaction, and repeat it when a deadlock rolled it back.

    Inside a transaction of the caller it runs once: the statements before it cannot be repeated.
    """
    for _ in range(MAX_DEADLOCKS):
        try:
            return do()
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected) or connection.in_atomic_block:
                raise
    return do()


def limit_statement_time(longest: timedelta) -> None:
    """Limit how long a statement may take, until the present transaction ends."""
    milliseconds = max(1, longest // timedelta(milliseconds=1))
    sql.fetch(sql.SET_STATEMENT_TIMEOUT, {"milliseconds": str(milliseconds)})
