"""What a worker process does when it is woken: claim and execute tasks until nothing is due."""

from __future__ import annotations

import logging
import os
import signal
from datetime import timedelta

import psycopg
from django import db

from taskqueue.conf import settings
from taskqueue.engine.execution.activity import Slate
from taskqueue.engine.runtime.database_errors import line_of
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import DatabaseLost, Outcome
from taskqueue.engine.worker.heartbeat import Heartbeat, cause_of
from taskqueue.engine.worker.loop import drain
from taskqueue.pool.shared_memory import STOP

logger = logging.getLogger("taskqueue.workers")

DATABASE_ERRORS = (db.Error, psycopg.Error, DatabaseLost)
TRY_AGAIN_AFTER = 0.5
LONGEST_PAUSE = 4.0


def answer() -> None:
    """Execute what is due, for as long as the drain budget lasts.

    The doorbell's wake-ups name this function; a plain `async_task("taskqueue.pool.claimed_tasks.answer")` on any
    django-q2 broker does the same. Raises nothing, since django-q2 would try a failed wake-up again.
    """
    # django-q2 arms an alarm for its own timeout; a step's timeout is the engine's affair.
    signal.alarm(0)
    pause = 0.0
    while not could_drain() and not STOP.wait(pause):
        pause = min(max(pause * 2, TRY_AGAIN_AFTER), LONGEST_PAUSE)


def could_drain() -> bool:
    """Drain once. If that fails, say so, let go of what this worker may hold, and return False."""
    try:
        drain(
            keeper.heart(),
            budget=settings().WORKER_LOOP_TIME,
            stopping=STOP.is_set,
            settled=log_execution,
        )
    except DATABASE_ERRORS as error:
        met: BaseException = error
        line = line_of(cause_of(error))
        if keeper.is_news(line):
            logger.warning("A worker lost the database, and lets go of what it had: %s", line)
    except BaseException as error:  # a fault of the engine's must not be the end of the worker
        met = error
        line = f"{type(error).__name__}: {message_of(error)}"
        if keeper.is_news(line):
            logger.exception("A worker could not go on with its task, and lets go of it")
    else:
        keeper.is_well()
        return True
    keeper.doubt(line, met)
    return False


def log_execution(lease: Lease, outcome: Outcome, took: timedelta) -> None:
    """One line for each time that a task was in this worker's hands."""
    logger.info("%s %s: %s after %.3f s", lease.pipeline, lease.task, type(outcome).__name__, took.total_seconds())


class HeartbeatKeeper:
    """Keeps the heart of this worker process. A heart has a thread, and threads do not survive a fork."""

    def __init__(self) -> None:
        self.cluster = ""
        self._heart: Heartbeat | None = None
        self._pid = 0
        self._in_doubt: BaseException | None = None
        self._last = ""
        self.slate: Slate | None = None

    def heart(self) -> Heartbeat:
        """The beating heart; begins to beat at the first call in a process.

        Raises:
            django.db.Error, psycopg.Error: the database is away.
        """
        if self._heart is None or self._pid != os.getpid():
            heart = Heartbeat(self.cluster or f"qcluster-{os.getppid()}")
            heart.activity.slate = self.slate
            heart.start()
            self._heart, self._pid, self._in_doubt = heart, os.getpid(), None
        if self._in_doubt is not None:
            self._heart.renew(self._in_doubt)
            self._in_doubt = None
        return self._heart

    def is_news(self, line: str) -> bool:
        """Whether the drain before this one did not fail for the same reason."""
        return line != self._last

    def is_well(self) -> None:
        """A drain has succeeded."""
        if self._last and self._heart is not None:
            self._heart.claim_error = ""
        self._last = ""

    def doubt(self, line: str, error: BaseException) -> None:
        """It is unknown whether this worker still holds a task: give that back, as soon as the database lets us.

        Nobody else would. The heart holds on to the worker's row by itself, and no wake-up comes for a task that passes
        for running. One failure may be the database's restart; of the second in a row the worker's row tells.

        Args:
            line: why the drain failed.
            error: the same as it was raised.
        """
        if self._last and self._heart is not None:
            self._heart.claim_error = line
        self._last = line
        self._in_doubt = error
        while not STOP.is_set():
            try:
                db.connections.close_all()
                self.heart()
            except DATABASE_ERRORS:
                STOP.wait(TRY_AGAIN_AFTER)
            else:
                return

    def stop(self, reason: str) -> None:
        """Say goodbye, if this process has a heart; silently while in doubt, so that others find it dead and look."""
        if self._heart is not None and self._pid == os.getpid() and self._in_doubt is None:
            self._heart.stop(reason)
            self._heart = None


keeper = HeartbeatKeeper()
