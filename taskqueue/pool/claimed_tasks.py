"""What an awake worker process does: claim and execute tasks until nothing is due."""

from __future__ import annotations

import logging
import os
import signal
from datetime import timedelta

import psycopg
from django import db

from taskqueue.conf import settings
from taskqueue.engine.execution.activity import CrashRecord
from taskqueue.engine.runtime.database_errors import error_line
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import DatabaseLost, Outcome
from taskqueue.engine.worker.heartbeat import Heartbeat, cause_of
from taskqueue.engine.worker.loop import run_until_idle
from taskqueue.pool.shared_memory import STOP

logger = logging.getLogger("taskqueue.workers")

DATABASE_ERRORS = (db.Error, psycopg.Error, DatabaseLost)
RETRY_DELAY = 0.5
MAX_RETRY_DELAY = 4.0


def run_claimed_tasks() -> None:
    """Execute what is due until nothing is left, or WORKER_LOOP_TIME is over. Raises nothing.

    The notifier's wake-up messages name this function. `async_task("taskqueue.pool.claimed_tasks.run_claimed_tasks")`
    on any django-q2 broker has the same effect.
    """
    # django-q2 arms an alarm for its own timeout. The timeouts of steps belong to the engine.
    signal.alarm(0)
    delay = 0.0
    while not run_worker_loop() and not STOP.wait(delay):
        delay = min(max(delay * 2, RETRY_DELAY), MAX_RETRY_DELAY)


def run_worker_loop() -> bool:
    """Run the worker loop once. If it fails, log the error, release this worker's leases, and return False."""
    try:
        run_until_idle(
            heartbeats.current(),
            budget=settings().WORKER_LOOP_TIME,
            stopping=STOP.is_set,
            on_execution=log_execution,
        )
    except DATABASE_ERRORS as error:
        caught: BaseException = error
        line = error_line(cause_of(error))
        if heartbeats.is_new_error(line):
            logger.warning("A worker lost the database, and releases its tasks: %s", line)
    except BaseException as error:  # an error of the engine must not end the worker
        caught = error
        line = f"{type(error).__name__}: {message_of(error)}"
        if heartbeats.is_new_error(line):
            logger.exception("The worker loop failed; the worker releases its tasks")
    else:
        heartbeats.clear_error()
        return True
    heartbeats.mark_uncertain(line, caught)
    return False


def log_execution(lease: Lease, outcome: Outcome, duration: timedelta) -> None:
    logger.info("%s %s: %s after %.3f s", lease.pipeline, lease.task, type(outcome).__name__, duration.total_seconds())


class ProcessHeartbeat:
    """The heartbeat of this worker process. It has a thread, and threads do not survive a fork."""

    def __init__(self) -> None:
        self.cluster = ""
        self.shared_state: CrashRecord | None = None
        self._heartbeat: Heartbeat | None = None
        self._pid = 0
        self._uncertain_error: BaseException | None = None
        self._last_error = ""

    def current(self) -> Heartbeat:
        """Return the heartbeat. The first call in a process starts it.

        Raises:
            django.db.Error, psycopg.Error: the database is unreachable.
        """
        if self._heartbeat is None or self._pid != os.getpid():
            heartbeat = Heartbeat(self.cluster or f"qcluster-{os.getppid()}")
            heartbeat.activity.crash_record = self.shared_state
            heartbeat.start()
            self._heartbeat, self._pid, self._uncertain_error = heartbeat, os.getpid(), None
        if self._uncertain_error is not None:
            self._heartbeat.renew(self._uncertain_error)
            self._uncertain_error = None
        return self._heartbeat

    def is_new_error(self, line: str) -> bool:
        """Whether the worker loop before this one did not fail for this reason."""
        return line != self._last_error

    def clear_error(self) -> None:
        if self._last_error and self._heartbeat is not None:
            self._heartbeat.claim_error = ""
        self._last_error = ""

    def mark_uncertain(self, line: str, error: BaseException) -> None:
        """After a failed loop, release this worker's leases once the database answers.

        No other process would do it: the heartbeat keeps this worker alive, and no wake-up comes for a running task.
        The first failure may be a restart of the database; from the second in a row on it becomes the claim error.

        Args:
            line: why the loop failed.
            error: the exception behind it.
        """
        if self._last_error and self._heartbeat is not None:
            self._heartbeat.claim_error = line
        self._last_error = line
        self._uncertain_error = error
        while not STOP.is_set():
            try:
                db.connections.close_all()
                self.current()
            except DATABASE_ERRORS:
                STOP.wait(RETRY_DELAY)
            else:
                return

    def stop(self, reason: str) -> None:
        """End this worker's row. An uncertain worker only stops its process, so that recovery releases its leases."""
        if self._heartbeat is not None and self._pid == os.getpid() and self._uncertain_error is None:
            self._heartbeat.stop(reason)
            self._heartbeat = None


heartbeats = ProcessHeartbeat()
