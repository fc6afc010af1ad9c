"""The watchdog: detects a worker pool that hangs, whatever the cause."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django import db

from taskqueue.engine.maintenance import dispatch
from taskqueue.pool.shared_memory import PoolStatus

logger = logging.getLogger("taskqueue.workers")

CHECKS_PER_TIMEOUT = 5


class Watchdog:
    """Watches one pool from the main process, through the database and the status of the pool."""

    def __init__(self, status: PoolStatus, *, timeout: timedelta) -> None:
        self._status = status
        self._timeout = timeout.total_seconds()
        self._next_check_at = 0.0
        self._suspect_since: float | None = None

    def is_stuck(self) -> bool:
        """Whether a task was claimable for the whole timeout while at least one thread was free and none changed.

        A pool whose threads are all busy is not stuck, however long their steps take. Nor is a pool whose workers
        answer wake-ups and cannot claim the task: each answer is a change.
        """
        if time.monotonic() < self._next_check_at:
            return False
        interval = self._timeout / CHECKS_PER_TIMEOUT
        self._next_check_at = time.monotonic() + interval
        is_quiet = self._status.has_free_thread() and self._status.seconds_without_change() > interval
        if not is_quiet or not self._is_work_claimable():
            self._suspect_since = None
            return False
        if self._suspect_since is None:
            self._suspect_since = time.monotonic()
        suspect_for = time.monotonic() - self._suspect_since
        return min(suspect_for, self._status.seconds_without_change()) >= self._timeout

    def _is_work_claimable(self) -> bool:
        """Whether a free thread could claim a task; those that are reserved leave tasks of other queues waiting."""
        try:
            return dispatch.run_due(1, self._status.open_queues()).claimable > 0
        except db.Error:
            # Without a database no task is claimable. The notifier logs the outage.
            db.connections.close_all()
            return False
