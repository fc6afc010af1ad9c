"""Wake-ups: hints to idle workers that there may be work. They carry nothing and may be lost."""

from __future__ import annotations

from django.db import connection, transaction

from taskqueue.engine import sql

CHANNEL = "taskqueue"
LOOK_EVERY = 1.0
"""Seconds after which a doorbell looks for work although nothing rings."""


def notify_on_commit() -> None:
    """Wake idle workers when the present transaction has committed; at once when there is none.

    A thousand tasks enqueued in one transaction ring once. A ring that fails is only logged: the rows are committed,
    and every doorbell looks by itself every `LOOK_EVERY` seconds.
    """
    if not any(hook[1] is ring for hook in connection.run_on_commit):
        transaction.on_commit(ring, robust=True)


def ring() -> None:
    """Wake idle workers now."""
    sql.fetch(sql.RING, {"channel": CHANNEL})
