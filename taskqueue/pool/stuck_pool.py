"""The watchdog: notices a worker pool that has got stuck, whatever it got stuck on."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django import db

from taskqueue.engine.maintenance import dispatch
from taskqueue.pool.shared_memory import Board

logger = logging.getLogger("taskqueue.workers")

LOOKS_PER_PATIENCE = 5


class Watchdog:
    """Watches one pool from the main process, through the database and the pool's board."""

    def __init__(self, board: Board, *, patience: timedelta) -> None:
        self._board = board
        self._patience = patience.total_seconds()
        self._look_at = 0.0
        self._neglected_since: float | None = None

    def finds_it_stuck(self) -> bool:
        """Whether claimable work has lain there all through its patience, beside a worker that never stirred.

        A pool whose workers are all busy is not stuck, however long their steps take. Nor is one whose workers come
        and find that they cannot have the work, as each wake-up that they answer shows on the board.
        """
        if time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + self._patience / LOOKS_PER_PATIENCE
        if not self._is_quiet() or not self._work_is_waiting():
            self._neglected_since = None
            return False
        if self._neglected_since is None:
            self._neglected_since = time.monotonic()
        return time.monotonic() - self._neglected_since >= self._patience and self._quiet_for() >= self._patience

    def _is_quiet(self) -> bool:
        return not self._board.everyone_is_busy() and self._quiet_for() > self._patience / LOOKS_PER_PATIENCE

    def _quiet_for(self) -> float:
        return min(self._board.quiet_for(), self._board.excused_for())

    def _work_is_waiting(self) -> bool:
        try:
            return dispatch.run_due(1).claimable > 0
        except db.Error:
            # Without a database there is nothing to claim, and the doorbell already tells of it.
            db.connections.close_all()
            return False
