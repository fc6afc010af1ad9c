"""Notifications: hints to idle workers that there may be work. They carry no data and may be lost."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction

from taskqueue.engine import sql

CHANNEL = "taskqueue"
POLL_INTERVAL = 1.0
"""Seconds after which a notifier looks for work without a notification."""


def notify_on_commit() -> None:
    """Notify idle workers once the present transaction has committed; at once when there is none.

    A thousand tasks enqueued in one transaction send one notification. A failure is only logged: the rows are
    committed, and every notifier looks for work every `POLL_INTERVAL` seconds.
    """
    if not any(hook[1] is notify_now for hook in connection.run_on_commit):
        transaction.on_commit(notify_now, robust=True)


def notification() -> dict[str, Any]:
    """The parameters of a statement that notifies workers as it commits, if it is a transaction of its own."""
    return {"is_alone": connection.get_autocommit() and not connection.in_atomic_block, "channel": CHANNEL}


def notify_now() -> None:
    sql.fetch(sql.NOTIFY, {"channel": CHANNEL})
