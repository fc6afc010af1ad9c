"""The worker cluster: the pool of one `manage.py worker`, started anew until somebody asks it to stop."""

from __future__ import annotations

import logging
import os
import signal
import time
from multiprocessing.process import BaseProcess
from uuid import UUID, uuid4

from django import db
from django_q.cluster import get_mp_context

from taskqueue.conf import settings
from taskqueue.pool import claimed_tasks
from taskqueue.pool.orphans import die_with
from taskqueue.pool.sentinel import STUCK, PoolSentinel
from taskqueue.pool.shared_memory import STOP, Board, Flag
from taskqueue.pool.stuck_pool import Watchdog

logger = logging.getLogger("taskqueue.workers")

LOOK_EVERY = 0.2
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
HEALTHY_AFTER = 10.0
"""A pool that lived so long did not fail at starting, and is replaced without a pause."""
SECOND_SIGNAL_AFTER = 1.0
"""A supervisor and the terminal may both pass on one Ctrl-C; that is not impatience."""
MARGIN = 10.0


def run(signals: Signals, *, processes: int) -> int:
    """Keep a pool of worker processes running until a signal ends it. The exit code to leave with."""
    pause = SHORTEST_PAUSE
    cluster = uuid4()
    while not STOP.is_set():
        born_at = time.monotonic()
        pool = Pool(cluster, processes)
        try:
            pool.watch()
            if STOP.is_set():
                return pool.stop(signals)
        finally:
            pool.kill()
        pause = SHORTEST_PAUSE if time.monotonic() - born_at > HEALTHY_AFTER else min(pause * 2, LONGEST_PAUSE)
        STOP.wait(pause)
    return 0


class Signals:
    """Takes the signals that end the command. A handler may run between any two instructions, so it only sets flags."""

    def __init__(self) -> None:
        self.impatient = False
        self._first_at: float | None = None

    def watch(self) -> None:
        """Take the signals from now on; SIGHUP only where nohup has not asked to ignore it."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._take)

    def _take(self, _number: int, _frame: object) -> None:
        STOP.set()
        if self._first_at is None:
            self._first_at = time.monotonic()
        elif time.monotonic() - self._first_at > SECOND_SIGNAL_AFTER:
            self.impatient = True


class Pool:
    """One sentinel and its children, as the main process sees them."""

    def __init__(self, cluster: UUID, processes: int) -> None:
        self._board = Board(processes)
        self._watchdog = Watchdog(self._board, patience=settings().STUCK_POOL_TIMEOUT)
        # What is open now would be shared with the child, and break for both.
        db.connections.close_all()
        self._sentinel: BaseProcess = get_mp_context().Process(
            target=_guard, args=(os.getpid(), Flag(), self._board, cluster)
        )
        self._sentinel.start()

    def watch(self) -> None:
        """Return when the pool has died, or been found stuck, or is to stop."""
        while not STOP.is_set() and self._sentinel.is_alive():
            self._sentinel.join(LOOK_EVERY)
            if self._watchdog.finds_it_stuck():
                logger.error("The worker pool is started anew: work is waiting, and its idle workers do not take it")
                return
        if not STOP.is_set() and self._sentinel.exitcode != STUCK:
            logger.error("The worker pool is started anew: its sentinel ended with code %s", self._sentinel.exitcode)

    def stop(self, signals: Signals) -> int:
        """Wait for the pool to stop in good order; 0 if it did, 1 if it had to be killed."""
        deadline = time.monotonic() + settings().STOP_GRACE.total_seconds() + MARGIN
        while self._sentinel.is_alive() and not signals.impatient and time.monotonic() < deadline:
            self._sentinel.join(LOOK_EVERY)
        return 0 if self._sentinel.exitcode == 0 else 1

    def kill(self) -> None:
        """End the sentinel, if it lives, and thereby all that it started."""
        self._sentinel.kill()
        self._sentinel.join()


def _guard(parent: int, started: Flag, board: Board, cluster: UUID) -> None:
    die_with(parent)
    claimed_tasks.keeper.cluster = str(cluster)
    PoolSentinel(started, board, cluster)
