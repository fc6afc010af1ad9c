"""One worker of a worker process: its loop, and its heartbeat, which is renewed after a lost database."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import timedelta

from django import db

from taskqueue.conf import settings
from taskqueue.engine.execution.activity import CrashRecord
from taskqueue.engine.runtime.database_errors import error_line
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Outcome
from taskqueue.engine.worker.heartbeat import DATABASE_ERRORS, Heartbeat, cause_of
from taskqueue.engine.worker.heartbeat_thread import HeartbeatThread
from taskqueue.engine.worker.loop import run_until_idle
from taskqueue.engine.worker.reserved_slots import ThreadSlot
from taskqueue.pool.shared_memory import STOP

logger = logging.getLogger("taskqueue.workers")

RETRY_DELAY = 0.5
MAX_RETRY_DELAY = 4.0


class ThreadWorker:
    """A worker in one thread of this process. Its heartbeat has another thread, and threads do not survive a fork.

    Attributes:
        cluster: the id of the command that has started this process.
        number: of its thread; 0 is the main thread.
        shared_state: where it notes what it executes.
        kind: which pipelines it claims tasks of.
        slot: its slot, when the process reserves some for the tasks of some queues.
        heartbeat_thread: the thread of this process's heartbeats; None for one of its own.
        is_needed: asked after some tiny tasks whether it claims more.
        after_first_claim: called after the first claim of each loop.
    """

    def __init__(self, number: int = 0) -> None:
        self.cluster = ""
        self.number = number
        self.kind = BodyKind.ANY
        self.slot: ThreadSlot | None = None
        self.shared_state: CrashRecord | None = None
        self.heartbeat_thread: HeartbeatThread | None = None
        self.is_needed: Callable[[], bool] = lambda: True
        self.after_first_claim: Callable[[], None] = lambda: None
        self._heartbeat: Heartbeat | None = None
        self._pid = 0
        self._uncertain_error: BaseException | None = None
        self._last_error = ""

    def run_until_idle(self) -> bool:
        """Execute what is due. Returns whether nothing is left; False when WORKER_LOOP_TIME is over. Raises nothing."""
        delay = 0.0
        while (is_idle := self._run_loop()) is None and not STOP.wait(delay):
            delay = min(max(delay * 2, RETRY_DELAY), MAX_RETRY_DELAY)
        return is_idle is not False

    @property
    def is_draining(self) -> bool:
        return self._heartbeat is not None and self._heartbeat.is_draining

    def is_executing_longer_than(self, seconds: float) -> bool:
        """Whether it executes a task, and has been in its present step for so long. Called from any thread."""
        if self._heartbeat is None:
            return False
        work = self._heartbeat.activity.current
        return work.lease is not None and time.monotonic() - work.since > seconds

    def current(self) -> Heartbeat:
        """Return the heartbeat. The first call in a process starts it.

        Raises:
            django.db.Error, psycopg.Error: the database is unreachable.
        """
        if self._heartbeat is None or self._pid != os.getpid():
            heartbeat = Heartbeat(
                self.cluster or f"qcluster-{os.getppid()}", number=self.number, thread=self.heartbeat_thread
            )
            heartbeat.crash_record = heartbeat.activity.step_record = self.shared_state
            heartbeat.kind, heartbeat.slot = self.kind, self.slot
            heartbeat.start()
            self._heartbeat, self._pid, self._uncertain_error = heartbeat, os.getpid(), None
        if self._uncertain_error is not None:
            self._heartbeat.renew(self._uncertain_error)
            self._uncertain_error = None
        return self._heartbeat

    def stop(self, reason: str) -> None:
        """End this worker's row. An uncertain worker only stops its process, so that recovery releases its leases."""
        if self._heartbeat is not None and self._pid == os.getpid() and self._uncertain_error is None:
            self._heartbeat.stop(reason)
            self._heartbeat = None

    def _run_loop(self) -> bool | None:
        """Run the worker loop once. If it fails, log the error, release this worker's leases, and return None."""
        budget, started_at = settings().WORKER_LOOP_TIME, time.monotonic()
        try:
            run_until_idle(
                self.current(),
                budget=budget,
                stopping=STOP.is_set,
                on_execution=log_execution,
                is_needed=self.is_needed,
                after_first_claim=self.after_first_claim,
            )
        except DATABASE_ERRORS as error:
            caught: BaseException = error
            line = error_line(cause_of(error))
            if line != self._last_error:
                logger.warning("A worker lost the database, and releases its tasks: %s", line)
        except BaseException as error:  # an error of the engine must not end the worker
            caught = error
            line = f"{type(error).__name__}: {message_of(error)}"
            if line != self._last_error:
                logger.exception("The worker loop failed; the worker releases its tasks")
        else:
            self._clear_error()
            return time.monotonic() - started_at < budget.total_seconds()
        finally:
            if self.slot is not None:
                self.slot.release()
        self._mark_uncertain(line, caught)
        return None

    def _clear_error(self) -> None:
        if self._last_error and self._heartbeat is not None:
            self._heartbeat.claim_error = ""
        self._last_error = ""

    def _mark_uncertain(self, line: str, error: BaseException) -> None:
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


def log_execution(lease: Lease, outcome: Outcome, duration: timedelta) -> None:
    logger.info("%s %s: %s after %.3f s", lease.pipeline, lease.task, type(outcome).__name__, duration.total_seconds())
