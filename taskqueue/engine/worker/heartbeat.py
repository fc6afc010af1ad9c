"""Liveness: a worker's row, the lock that the kernel frees when it dies, and the thread that beats."""

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

from taskqueue.codec import printable
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.execution.forks import guard, private
from taskqueue.engine.execution.log_capture import HEART
from taskqueue.engine.execution.reports import Reporter
from taskqueue.engine.maintenance.recovery import Loss, recover
from taskqueue.engine.runtime.database_errors import kind_of, line_of
from taskqueue.engine.runtime.failures import traceback_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.liveness import LOCK_SPACE, SILENCE
from taskqueue.engine.runtime.notify import CHANNEL
from taskqueue.engine.runtime.outcomes import DatabaseLost
from taskqueue.engine.runtime.sessions import NAME, named, private_wrapper
from taskqueue.engine.runtime.stacks import forget_own_file
from taskqueue.engine.worker.hard_timeouts import HardEnd, arm
from taskqueue.models import Worker

ROLE = "heartbeat"
BEAT_EVERY = 5.0
CLAIM_PATIENCE = 5.0
"""Seconds after which a claim that has not been answered is told as one that cannot be."""
UNANSWERED = "PostgreSQL has not answered its claim for five seconds. Is a table locked?"
REASON_LENGTH = 300
LOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
"""A statement that waited too long for somebody else's lock; the session that said so is sound."""
LOOK_EVERY = 0.25
"""How often the thread looks what the worker does; a step shorter than this is never written."""

logger = logging.getLogger("taskqueue.workers")

LOCK: LiteralString = "SELECT pg_try_advisory_lock(%(space)s::int, %(worker)s::int)"
REGISTER: LiteralString = """
INSERT INTO taskqueue_worker (
    host, pid, cluster, version, pipelines, started_at, heartbeat_at, end_reason, step, claim_error, draining_at
)
VALUES (
    %(host)s, %(pid)s, %(cluster)s, %(version)s, %(pipelines)s::jsonb,
    statement_timestamp(), statement_timestamp(), '', '', %(claim_error)s,
    -- Who drains goes on draining as a new worker.
    (SELECT draining_at FROM taskqueue_worker WHERE id = %(former)s::int)
)
RETURNING id
"""
GONE_AFTER_TEN_SECONDS: LiteralString = (
    "SELECT set_config('tcp_keepalives_idle', '4', false), set_config('tcp_keepalives_interval', '2', false), "
    "set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false)"
)
LEAVE: LiteralString = """
UPDATE taskqueue_worker SET ended_at = statement_timestamp(), end_reason = %(reason)s, task_id = NULL, step = ''
WHERE id = %(worker)s AND ended_at IS NULL
"""


class Heartbeat:
    """A worker's heart: one per process, started after the fork, with a connection of its own.

    Attributes:
        worker: the id of this process's row. It changes when others have taken the worker for dead.
        activity: what the working thread says that it does.
        claim_error: why this worker's last claims have failed one after the other, for its row; "" when they have not.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.worker = 0
        self.activity = Activity()
        self.claim_error = ""
        self._told = ""
        self._connection: psycopg.Connection[Any] | None = None
        self._beaten = 0.0
        self._seen = self._written = CurrentWork()
        self._locked = False
        self._hard_end = HardEnd(self.activity)
        self._reporter = Reporter(self.activity)
        self._returning: list[Lease] = []
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name=HEART, daemon=True)

    def start(self) -> None:
        """Register this process and begin to beat.

        Raises:
            django.db.Error, psycopg.Error: the database could not be reached.
        """
        with self._guard:
            self._register()
        self.activity.arm = arm
        guard()
        self._thread.start()

    def renew(self, error: BaseException) -> None:
        """End this worker's row, give back whatever it may hold, and go on as a new worker.

        Args:
            error: what the engine has met. It is told of the task in hand, which waits for a while when that happens
                again; those that were claimed behind it go back as they came.

        Raises:
            django.db.Error, psycopg.Error: the database is still unreachable; call it again later.
        """
        with self._guard:
            recover(
                self.worker, reason=f"it met {line_of(cause_of(error))}", loss=loss_by(error, self.activity.in_hand)
            )
            self.activity.take(None)
            self.activity.ahead.clear()
            self._register()

    def stop(self, reason: str = "stopped") -> None:
        """End this worker's row and stop beating. Losing the database here is no loss: the lock goes either way."""
        self._stopped.set()
        with self._guard:
            try:
                self._put_back()
                self._execute(LEAVE, {"worker": self.worker, "reason": reason})
            except (psycopg.Error, Error):
                return
            finally:
                self._disconnect()
                forget_own_file()

    def _live(self) -> None:
        """Look at the worker until it stops; a lost connection is made again at the next look."""
        while not self._stopped.wait(LOOK_EVERY):
            with self._guard:
                if self._stopped.is_set():
                    return
                try:
                    self._look()
                except LOCKED:
                    continue  # the database is there: to let go of this worker's own lock would be to play dead
                except (psycopg.Error, Error):
                    self._disconnect()
                except Exception:  # a heart that stops would leave a worker that works on under a dead row
                    logger.exception("The heart of worker %s missed a beat", self.worker)
                    self._disconnect()

    def _look(self) -> None:
        """Notice a cut connection, write what the worker does if it has been at it since the last look, and beat."""
        if self._connection is None:
            self._connection, self._locked, self._beaten = private_connection(ROLE), False, 0.0
        else:
            self._connection.pgconn.consume_input()  # raises when the server has closed the connection
        if not self._locked:
            self._locked = self._take_lock(self.worker)
        doing, former, self._seen = self.activity.doing, self._seen, self.activity.doing
        lasting_lease = doing.lease if doing.lease is former.lease else None
        if lasting_lease is not None:
            self._give_up_what_waits()
        lasting = doing is former and doing is not self._written
        is_news = self._told != self._hindrance(doing)
        if lasting or is_news or time.monotonic() - self._beaten >= BEAT_EVERY:
            self._beat(doing)
        # What may have to wait for a lock on a task or on their table comes last, and not for long.
        with suppress(*LOCKED):
            if lasting_lease is not None:
                self._ask_whether_it_is_held(lasting_lease)
            self._put_back()
            self._report_progress()
            if (report := self._reporter.news()) is not None:
                self._execute(sql.REPORT_STEP, report)
        self._hard_end.look()

    def _beat(self, doing: CurrentWork) -> None:
        """Write the row; if others have ended it, this process goes on as a new worker. The fence does the rest."""
        told = self._hindrance(doing)
        values = {
            "worker": self.worker,
            "task": doing.lease.task if doing.lease else None,
            "step": doing.step,
            "elapsed": timedelta(seconds=time.monotonic() - doing.since),
            "claim_error": told,
        }
        if self._execute(sql.BEAT, values) == 0:
            if doing.lease is not None:
                self._execute(sql.FORGIVE, doing.lease.fence)
            self._register()
        else:
            self._told = told
        self._beaten = time.monotonic()
        self._written = doing

    def _hindrance(self, doing: CurrentWork) -> str:
        """Why it cannot claim."""
        if doing.asks and time.monotonic() - doing.since > CLAIM_PATIENCE:
            return UNANSWERED
        return self.claim_error[:REASON_LENGTH]

    def _ask_whether_it_is_held(self, lease: Lease) -> None:
        """Notice that the task in hand was cancelled, or is somebody else's."""
        if self._execute(sql.STILL_HELD, lease.fence) == 0:
            self.activity.lost = lease

    def _give_up_what_waits(self) -> None:
        """The task in hand takes long: let others have those that were claimed behind it."""
        while self.activity.ahead:
            try:
                self._returning.append(self.activity.ahead.pop())
            except IndexError:  # the worker took the last one just now
                return

    def _put_back(self) -> None:
        """Return what was taken from behind a slow task. A lease leaves the list only when that is certain."""
        if not self._returning:
            return
        for lease in list(self._returning):
            self._execute(sql.alone(sql.PUT_BACK), lease.fence)
            self._returning.remove(lease)
        self._execute(sql.RING, {"channel": CHANNEL})

    def _report_progress(self) -> None:
        """Write the newest progress, under the lease for which it was reported."""
        progress, self.activity.progress = self.activity.progress, None
        if progress is not None:
            lease, fraction, note = progress
            self._execute(sql.REPORT_PROGRESS, {**lease.fence, "progress": fraction, "note": note})

    def _register(self) -> None:
        """Insert this process's row and take its lock in one transaction: nobody sees the row without the lock."""
        self._disconnect()
        self._connection = connection = private_connection(ROLE)
        told = self._hindrance(self.activity.doing)
        who = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "cluster": self.cluster,
            "version": running_version(),
            "pipelines": json.dumps(registry.names()),
            "former": self.worker,
            "claim_error": told,
        }
        with connection.transaction():
            row = connection.execute(REGISTER, who).fetchone()
            assert row is not None  # noqa: S101 - INSERT … RETURNING
            worker: int = row[0]
            locked = self._take_lock(worker)
        # Only now: the working thread claims under this id, and until the commit nobody would know whom it names.
        self.worker, self._locked = worker, locked
        self._told = told
        self._beaten = time.monotonic()
        if self.activity.slate is not None:
            self.activity.slate.write_worker(worker)

    def _take_lock(self, worker: int) -> bool:
        """Take a worker's lock. Not to be had while the server still holds a session whose connection was cut."""
        assert self._connection is not None  # noqa: S101 - both callers have just made sure of it
        row = self._connection.execute(LOCK, {"space": LOCK_SPACE, "worker": worker}).fetchone()
        return row is not None and bool(row[0])

    def _execute(self, statement: LiteralString, values: dict[str, Any]) -> int:
        """Run a statement on the heart's own connection; how many rows it touched."""
        if self._connection is None:
            raise psycopg.OperationalError("the heart has no connection")
        return self._connection.execute(statement, values).rowcount

    def _disconnect(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def loss_by(error: BaseException, in_hand: Lease | None) -> Loss:
    """What an error that the engine met means for the task in hand: no death of a process."""
    cause = cause_of(error)
    is_of_the_database = isinstance(cause, Error | psycopg.Error)
    return Loss(
        task=in_hand.task if in_hand else None,
        step=error.step if isinstance(error, DatabaseLost) else "",
        error_type=kind_of(cause),
        message=printable(line_of(cause)),
        traceback="" if is_of_the_database else traceback_of(cause),
        backs_off=True,
    )


def cause_of(error: BaseException) -> BaseException:
    """What the database said, when it is that."""
    return error.error if isinstance(error, DatabaseLost) else error


def private_connection(role: str = "private") -> psycopg.Connection[Any]:
    """A new connection with Django's parameters, shared with nothing, in autocommit, shown by PostgreSQL in this role.

    The server drops it ten seconds after this machine is gone, waits no longer than a second for a lock, and gives up a
    statement that takes ten.
    """
    wrapper = private_wrapper(**{NAME: named(role)})
    wrapper.connect()
    connection: psycopg.Connection[Any] = wrapper.connection
    connection.execute("SELECT set_config('lock_timeout', '1s', false), set_config('statement_timeout', '10s', false)")
    have_it_dropped(connection)
    private.add(connection)
    return connection


def have_it_dropped(connection: psycopg.Connection[Any]) -> None:
    """Let the server drop a connection, with the locks and the open transaction on it, when this machine is gone."""
    if connection.info.host and not connection.info.host.startswith("/"):
        connection.execute(GONE_AFTER_TEN_SECONDS)


def live_workers() -> QuerySet[Worker]:
    """Workers that have not ended and beat."""
    return Worker.objects.filter(ended_at=None, heartbeat_at__gt=Now() - SILENCE)


def unable_workers() -> QuerySet[Worker]:
    """Live workers that cannot claim."""
    return live_workers().exclude(claim_error="")


def running_version() -> str:
    """The installed version of taskqueue."""
    try:
        return version("django-durable-taskqueue")
    except PackageNotFoundError:
        return "unpackaged"
