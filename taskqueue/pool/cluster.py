"""The worker cluster: the pool of one `manage.py worker`, restarted whenever it ends, until a signal stops it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from uuid import UUID, uuid4

from django import db
from django_q.cluster import get_mp_context

from taskqueue.conf import settings
from taskqueue.engine.runtime.stacks import delete_old_crash_dumps
from taskqueue.pool.orphans import die_with
from taskqueue.pool.sentinel import STUCK_EXIT_CODE, PoolSentinel
from taskqueue.pool.shared_memory import STOP, Flag, PoolStatus
from taskqueue.pool.stuck_pool import Watchdog
from taskqueue.pool.threads.worker_threads import worker_threads

logger = logging.getLogger("taskqueue.workers")

POLL_SECONDS = 0.2
MIN_RESTART_DELAY = 0.1
MAX_RESTART_DELAY = 30.0
HEALTHY_AFTER = 10.0
"""Seconds. A pool that lived longer did not fail at its start, and is replaced at once."""
SECOND_SIGNAL_AFTER = 1.0
"""Seconds. One Ctrl-C may reach this process twice, from the terminal and from a supervisor."""
STOP_MARGIN = 10.0


def run(
    signals: Signals, *, processes: int, threads: int, async_slots: int, reserved: Mapping[str, int] | None = None
) -> int:
    """Keep a pool of worker processes running until a signal ends it. Returns the exit code of the command.

    Args:
        signals: of this command.
        processes: how many.
        threads: how many plain tasks each of them executes at once.
        async_slots: how many async tasks each of them executes at once, in addition; 0: in its threads.
        reserved: how many threads each of them keeps for the tasks of each queue.
    """
    delay = MIN_RESTART_DELAY
    cluster = uuid4()
    delete_old_crash_dumps()
    while not STOP.is_set():
        started_at = time.monotonic()
        pool = Pool(cluster, PoolStatus(processes, threads, async_slots, reserved))
        try:
            pool.watch()
            if STOP.is_set():
                return pool.stop(signals)
        finally:
            pool.kill()
        is_healthy = time.monotonic() - started_at > HEALTHY_AFTER
        delay = MIN_RESTART_DELAY if is_healthy else min(delay * 2, MAX_RESTART_DELAY)
        STOP.wait(delay)
    return 0


class Signals:
    """Handles the signals that end the command. A handler may run between any two instructions: it only sets flags."""

    def __init__(self) -> None:
        self.stop_at_once = False
        self._first_at: float | None = None

    def watch(self) -> None:
        """Install the handlers; for SIGHUP only where nohup does not ignore it."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: object) -> None:
        STOP.set()
        if self._first_at is None:
            self._first_at = time.monotonic()
        elif time.monotonic() - self._first_at > SECOND_SIGNAL_AFTER:
            self.stop_at_once = True


class Pool:
    """One sentinel and its children, as the main process sees them."""

    def __init__(self, cluster: UUID, status: PoolStatus) -> None:
        self._status = status
        self._watchdog = Watchdog(self._status, timeout=settings().STUCK_POOL_TIMEOUT)
        # A connection that is open now would be shared with the child, and break for both.
        db.connections.close_all()
        self._sentinel: BaseProcess = get_mp_context().Process(
            target=_run_sentinel, args=(os.getpid(), Flag(), self._status, cluster)
        )
        self._sentinel.start()

    def watch(self) -> None:
        """Return when the pool has ended, is stuck, or is to stop."""
        while not STOP.is_set() and self._sentinel.is_alive():
            self._sentinel.join(POLL_SECONDS)
            if self._watchdog.is_stuck():
                logger.error("The worker pool is restarted: tasks are due, and idle workers do not claim them")
                return
        if not STOP.is_set() and self._sentinel.exitcode != STUCK_EXIT_CODE:
            logger.error("The worker pool is restarted: its sentinel ended with code %s", self._sentinel.exitcode)

    def stop(self, signals: Signals) -> int:
        """Wait until the pool has stopped. Returns 0 if it stopped by itself, and 1 if it has to be killed."""
        deadline = time.monotonic() + settings().STOP_GRACE.total_seconds() + STOP_MARGIN
        while self._sentinel.is_alive() and not signals.stop_at_once and time.monotonic() < deadline:
            self._sentinel.join(POLL_SECONDS)
        return 0 if self._sentinel.exitcode == 0 else 1

    def kill(self) -> None:
        self._sentinel.kill()
        self._sentinel.join()


def _run_sentinel(parent: int, started: Flag, status: PoolStatus, cluster: UUID) -> None:
    die_with(parent)
    worker_threads.first.cluster = str(cluster)
    PoolSentinel(started, status, cluster)
