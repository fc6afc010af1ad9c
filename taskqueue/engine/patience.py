"""Patience: how long a sweep waits for what others hold, and a reader for an answer."""

from __future__ import annotations

from datetime import timedelta

from django.db import Error
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

from taskqueue.engine import statements

PATIENCE = "200ms"
"""So long a sweep waits for a lock that somebody else holds."""


def is_busy(error: Error) -> bool:
    """Whether a statement failed only because of a lock: one that was held for longer than that, or a deadlock."""
    return isinstance(error.__cause__, LockNotAvailable | DeadlockDetected)


def bound_reads(longest: timedelta) -> None:
    """Until the present transaction ends, let no statement take longer than this."""
    milliseconds = max(1, longest // timedelta(milliseconds=1))
    statements.fetch(statements.BOUND_READS, {"milliseconds": str(milliseconds)})


def ran_out_of_time(error: Error) -> bool:
    """Whether a statement failed only because it took longer than it was allowed to."""
    return isinstance(error.__cause__, QueryCanceled)
