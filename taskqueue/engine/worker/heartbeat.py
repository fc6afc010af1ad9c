"""The heartbeat of a worker: its row, its advisory lock, which a dead process loses, and the thread that keeps both."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, LiteralString

import psycopg
from django.db import Error
from django.db.models import QuerySet
from django.db.models.functions import Now

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.author_code.log_capture import HEARTBEAT_THREAD
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.maintenance.recovery import Loss, recover
from taskqueue.engine.runtime.database_errors import error_line, error_name
from taskqueue.engine.runtime.failures import traceback_of
from taskqueue.engine.runtime.forks import detach_children, private_connections
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT, LOCK_SPACE
from taskqueue.engine.runtime.notify import CHANNEL
from taskqueue.engine.runtime.outcomes import DatabaseLost
from taskqueue.engine.runtime.sessions import APPLICATION_NAME, private_wrapper, session_name
from taskqueue.engine.runtime.stacks import delete_crash_dump
from taskqueue.engine.worker.hard_timeouts import HardTimeouts, arm
from taskqueue.engine.worker.step_reports import Reporter
from taskqueue.json_values.codec import printable
from taskqueue.models import Worker

ROLE = "heartbeat"
HEARTBEAT_INTERVAL = 5.0
CLAIM_TIMEOUT = 5.0
"""Seconds after which an unanswered claim is reported as a claim error."""
CLAIM_UNANSWERED = "PostgreSQL has not answered its claim for five seconds. Is a table locked?"
REASON_LENGTH = 300
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
"""A statement met a lock or the statement timeout; its session is sound."""
CHECK_INTERVAL = 0.25
"""Seconds between checks of what the worker does. Shorter steps are never written."""

logger = logging.getLogger("taskqueue.workers")

LOCK: LiteralString = "SELECT pg_try_advisory_lock(%(space)s::int, %(worker)s::int)"
REGISTER: LiteralString = """
INSERT INTO taskqueue_worker (
    host, pid, cluster, version, pipelines, started_at, heartbeat_at, end_reason, step, claim_error, draining_at
)
VALUES (
    %(host)s, %(pid)s, %(cluster)s, %(version)s, %(pipelines)s::jsonb,
    statement_timestamp(), statement_timestamp(), '', '', %(claim_error)s,
    -- A draining worker keeps draining under its new row.
    (SELECT draining_at FROM taskqueue_worker WHERE id = %(previous)s::int)
)
RETURNING id
"""
END_QUERY_OF_LOST_CLIENT: LiteralString = "SELECT set_config('client_connection_check_interval', '1000', false)"
"""In milliseconds. Without it the server executes the query of a killed worker to its end."""
DROP_AFTER_TEN_SECONDS: LiteralString = (
    "SELECT set_config('tcp_keepalives_idle', '4', false), set_config('tcp_keepalives_interval', '2', false), "
    "set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false)"
)
END_WORKER: LiteralString = """
UPDATE taskqueue_worker SET ended_at = statement_timestamp(), end_reason = %(reason)s, task_id = NULL, step = ''
WHERE id = %(worker)s AND ended_at IS NULL
"""


class Heartbeat:
    """The heartbeat of a worker: one per process, started after the fork, on a connection of its own.

    Attributes:
        worker: the id of this process's row. It changes when another process has presumed this worker dead.
        activity: what the worker thread does now.
        claim_error: why this worker's last claims failed; empty when they did not.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.worker = 0
        self.activity = Activity()
        self.claim_error = ""
        self._written_claim_error = ""
        self._connection: psycopg.Connection[Any] | None = None
        self._written_at = 0.0
        self._seen = self._written_work = CurrentWork()
        self._locked = False
        self._hard_timeouts = HardTimeouts(self.activity)
        self._reporter = Reporter(self.activity)
        self._to_release: list[Lease] = []
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=HEARTBEAT_THREAD, daemon=True)

    def start(self) -> None:
        """Register this process and start the thread.

        Raises:
            django.db.Error, psycopg.Error: the database could not be reached.
        """
        with self._guard:
            self._register()
        self.activity.set_hard_timeout = arm
        detach_children()
        self._thread.start()

    def renew(self, error: BaseException) -> None:
        """End this worker's row, release its leases, and continue under a new row.

        Args:
            error: the error that the worker loop raised. The current task gets a lost attempt with it, and waits for a
                while when that happens again; prefetched tasks go back to the queue.

        Raises:
            django.db.Error, psycopg.Error: the database is still unreachable; call it again later.
        """
        with self._guard:
            recover(
                self.worker,
                reason=f"it met {error_line(cause_of(error))}",
                loss=loss_by(error, self.activity.unsettled_lease),
            )
            self.activity.set_unsettled(None)
            self.activity.prefetched.clear()
            self._register()

    def stop(self, reason: str = "stopped") -> None:
        """End this worker's row and stop the thread. A database error is ignored, since the lock is lost either way."""
        self._stopped.set()
        with self._guard:
            try:
                self._release()
                self._execute(END_WORKER, {"worker": self.worker, "reason": reason})
            except (psycopg.Error, Error):
                return
            finally:
                self._disconnect()
                delete_crash_dump()

    def _run(self) -> None:
        """Check the worker until it stops, and reconnect after a lost connection."""
        while not self._stopped.wait(CHECK_INTERVAL):
            with self._guard:
                if self._stopped.is_set():
                    return
                try:
                    self._check()
                except LOCKED:
                    continue  # keep the connection, and with it the worker's advisory lock
                except (psycopg.Error, Error):
                    self._disconnect()
                except Exception:  # without this thread the worker would go on under a dead row
                    logger.exception("The heartbeat of worker %s failed; it is retried", self.worker)
                    self._disconnect()

    def _check(self) -> None:
        """Write the heartbeat when it is due or the worker's work lasts; then check its lease and release tasks."""
        if self._connection is None:
            self._connection, self._locked, self._written_at = private_connection(ROLE), False, 0.0
        else:
            self._connection.pgconn.consume_input()  # raises when the server has closed the connection
        if not self._locked:
            self._locked = self._take_lock(self.worker)
        work, previous, self._seen = self.activity.current, self._seen, self.activity.current
        long_lease = work.lease if work.lease is previous.lease else None
        if long_lease is not None:
            self._take_prefetched()
        is_long = work is previous and work is not self._written_work
        has_changed = self._written_claim_error != self._current_claim_error(work)
        if is_long or has_changed or time.monotonic() - self._written_at >= HEARTBEAT_INTERVAL:
            self._beat(work)
        # Statements that may wait for a lock on tasks come last, and wait for a moment only.
        with suppress(*LOCKED):
            if long_lease is not None:
                self._check_lease(long_lease)
            self._release()
            self._report_progress()
            if (report := self._reporter.next_report()) is not None:
                self._execute(sql.REPORT_STEP, report)
        self._hard_timeouts.check()

    def _beat(self, work: CurrentWork) -> None:
        """Write the row. If another process has ended it, register a new one; the old leases are fenced off."""
        claim_error = self._current_claim_error(work)
        values = {
            "worker": self.worker,
            "task": work.lease.task if work.lease else None,
            "step": work.step,
            "elapsed": timedelta(seconds=time.monotonic() - work.since),
            "claim_error": claim_error,
        }
        if self._execute(sql.HEARTBEAT, values) == 0:
            if work.lease is not None:
                self._execute(sql.CORRECT_LOSS, work.lease.fence)
            self._register()
        else:
            self._written_claim_error = claim_error
        self._written_at = time.monotonic()
        self._written_work = work

    def _current_claim_error(self, work: CurrentWork) -> str:
        if work.is_claiming and time.monotonic() - work.since > CLAIM_TIMEOUT:
            return CLAIM_UNANSWERED
        return self.claim_error[:REASON_LENGTH]

    def _check_lease(self, lease: Lease) -> None:
        """Mark the lease as lost when the task was cancelled or recovered."""
        if self._execute(sql.CHECK_LEASE, lease.fence) == 0:
            self.activity.lost_lease = lease

    def _take_prefetched(self) -> None:
        """Take the prefetched tasks from the worker thread, since its current task takes long."""
        while self.activity.prefetched:
            try:
                self._to_release.append(self.activity.prefetched.pop())
            except IndexError:  # the worker thread took the last one just now
                return

    def _release(self) -> None:
        """Release the tasks that were taken. A lease leaves the list only when that is certain."""
        if not self._to_release:
            return
        for lease in list(self._to_release):
            self._execute(sql.standalone(sql.RELEASE), lease.fence)
            self._to_release.remove(lease)
        self._execute(sql.NOTIFY, {"channel": CHANNEL})

    def _report_progress(self) -> None:
        """Write the newest progress, under the lease for which it was reported."""
        progress, self.activity.progress = self.activity.progress, None
        if progress is not None:
            lease, fraction, note = progress
            self._execute(sql.REPORT_PROGRESS, {**lease.fence, "progress": fraction, "note": note})

    def _register(self) -> None:
        """Insert this process's row and take its lock in one transaction, so that no process sees the row unlocked."""
        self._disconnect()
        self._connection = connection = private_connection(ROLE)
        claim_error = self._current_claim_error(self.activity.current)
        values = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "cluster": self.cluster,
            "version": running_version(),
            "pipelines": json.dumps(registry.names()),
            "previous": self.worker,
            "claim_error": claim_error,
        }
        with connection.transaction():
            row = connection.execute(REGISTER, values).fetchone()
            assert row is not None  # noqa: S101 - INSERT … RETURNING
            worker: int = row[0]
            locked = self._take_lock(worker)
        # After the commit: the worker thread claims under this id, which must exist.
        self.worker, self._locked = worker, locked
        self._written_claim_error = claim_error
        self._written_at = time.monotonic()
        if self.activity.crash_record is not None:
            self.activity.crash_record.write_worker(worker)

    def _take_lock(self, worker: int) -> bool:
        """Take a worker's lock. False while the server still has the session of a lost connection."""
        assert self._connection is not None  # noqa: S101 - both callers have set it
        row = self._connection.execute(LOCK, {"space": LOCK_SPACE, "worker": worker}).fetchone()
        return row is not None and bool(row[0])

    def _execute(self, statement: LiteralString, values: dict[str, Any]) -> int:
        """Run a statement on the heartbeat's own connection; how many rows it changed."""
        if self._connection is None:
            raise psycopg.OperationalError("the heartbeat has no connection")
        return self._connection.execute(statement, values).rowcount

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def loss_by(error: BaseException, in_hand: Lease | None) -> Loss:
    """The loss of the current task by an error of the worker loop, which is no death of a process."""
    cause = cause_of(error)
    is_of_the_database = isinstance(cause, Error | psycopg.Error)
    return Loss(
        task=in_hand.task if in_hand else None,
        step=error.step if isinstance(error, DatabaseLost) else "",
        error_type=error_name(cause),
        message=printable(error_line(cause)),
        traceback="" if is_of_the_database else traceback_of(cause),
        backs_off=True,
    )


def cause_of(error: BaseException) -> BaseException:
    """The database's error in a DatabaseLost; other errors as they are."""
    return error.error if isinstance(error, DatabaseLost) else error


def private_connection(role: str = "private") -> psycopg.Connection[Any]:
    """A new autocommit connection with Django's parameters, with this role in its application name.

    The server drops it ten seconds after this machine is gone. A lock is awaited for a second, a statement for ten.
    """
    wrapper = private_wrapper(**{APPLICATION_NAME: session_name(role)})
    wrapper.connect()
    connection: psycopg.Connection[Any] = wrapper.connection
    connection.execute("SELECT set_config('lock_timeout', '1s', false), set_config('statement_timeout', '10s', false)")
    drop_when_unreachable(connection)
    private_connections.add(connection)
    return connection


def drop_when_unreachable(connection: psycopg.Connection[Any]) -> None:
    """Let the server drop a connection, with its locks and its transaction, when this process or machine is gone."""
    with suppress(psycopg.errors.InvalidParameterValue):  # a server on Windows does not notice it
        connection.execute(END_QUERY_OF_LOST_CLIENT)
    if connection.info.host and not connection.info.host.startswith("/"):
        connection.execute(DROP_AFTER_TEN_SECONDS)


def live_workers() -> QuerySet[Worker]:
    """Workers that have not ended and have a recent heartbeat."""
    return Worker.objects.filter(ended_at=None, heartbeat_at__gt=Now() - HEARTBEAT_TIMEOUT)


def workers_with_claim_errors() -> QuerySet[Worker]:
    """Live workers whose claims fail."""
    return live_workers().exclude(claim_error="")


def running_version() -> str:
    """The installed version of taskqueue."""
    try:
        return version("django-durable-taskqueue")
    except PackageNotFoundError:
        return "unpackaged"
