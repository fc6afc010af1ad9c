"""Liveness: a worker's row, the lock that the kernel frees when it dies, and the thread that beats."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, LiteralString

import psycopg
from django.db import Error, connections
from django.db.models import QuerySet
from django.db.models.functions import Now

from taskqueue.engine import statements
from taskqueue.engine.activity import Activity, Doing
from taskqueue.engine.recovery import LOCK_SPACE, SILENCE, recover
from taskqueue.engine.wakeups import CHANNEL
from taskqueue.models import Worker

BEAT_EVERY = 5.0
LOOK_EVERY = 0.25
"""How often the thread looks what the worker does; a step shorter than this is never written."""

LOCK: LiteralString = "SELECT pg_try_advisory_lock(%(space)s::int, %(worker)s::int)"
REGISTER: LiteralString = """
INSERT INTO taskqueue_worker (host, pid, cluster, version, started_at, beat_at, end_reason, step)
VALUES (%(host)s, %(pid)s, %(cluster)s, %(version)s, statement_timestamp(), statement_timestamp(), '', '')
RETURNING id
"""
LEAVE: LiteralString = """
UPDATE taskqueue_worker SET ended_at = statement_timestamp(), end_reason = %(reason)s, task_id = NULL, step = ''
WHERE id = %(worker)s AND ended_at IS NULL
"""


class Heart:
    """A worker's heart: one per process, started after the fork, with a connection of its own.

    Attributes:
        worker: the id of this process's row. It changes when others have taken the worker for dead.
        activity: what the working thread says that it does.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.worker = 0
        self.activity = Activity()
        self._connection: psycopg.Connection[Any] | None = None
        self._beaten = 0.0
        self._seen = self._written = Doing()
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name="taskqueue-heart", daemon=True)

    def start(self) -> None:
        """Register this process and begin to beat.

        Raises:
            django.db.Error, psycopg.Error: the database could not be reached.
        """
        with self._guard:
            self._register()
        self._thread.start()

    def renew(self) -> None:
        """End this worker's row, give back whatever it may hold, and go on as a new worker.

        Raises:
            django.db.Error, psycopg.Error: the database is still unreachable; call it again later.
        """
        with self._guard:
            recover(self.worker, reason="it lost its connection to the database")
            self._register()

    def stop(self, reason: str = "stopped") -> None:
        """End this worker's row and stop beating. Losing the database here is no loss: the lock goes either way."""
        self._stopped.set()
        with self._guard:
            try:
                self._execute(LEAVE, {"worker": self.worker, "reason": reason})
            except (psycopg.Error, Error):
                return
            finally:
                self._disconnect()

    def _live(self) -> None:
        """Look at the worker until it stops; a lost connection is made again at the next look."""
        while not self._stopped.wait(LOOK_EVERY):
            with self._guard:
                if self._stopped.is_set():
                    return
                try:
                    self._look()
                except (psycopg.Error, Error):
                    self._disconnect()

    def _look(self) -> None:
        """Notice a cut connection, write what the worker does if it has been at it since the last look, and beat."""
        if self._connection is None:
            self._take_lock()
        else:
            self._connection.pgconn.consume_input()  # raises when the server has closed the connection
        self._report_progress()
        doing, former, self._seen = self.activity.doing, self._seen, self.activity.doing
        if doing.lease is not None and doing.lease is former.lease:
            self._give_up_what_waits()
        lasting = doing is former and doing is not self._written
        if lasting or time.monotonic() - self._beaten >= BEAT_EVERY:
            self._beat(doing)

    def _beat(self, doing: Doing) -> None:
        """Write the row; if others have ended it, this process goes on as a new worker. The fence does the rest."""
        values = {
            "worker": self.worker,
            "task": doing.lease.task if doing.lease else None,
            "step": doing.step,
            "elapsed": timedelta(seconds=time.monotonic() - doing.since),
        }
        if self._execute(statements.BEAT, values) == 0:
            self._register()
        self._beaten = time.monotonic()
        self._written = doing

    def _give_up_what_waits(self) -> None:
        """The task in hand takes long: let others have those that were claimed behind it."""
        given_up = 0
        while self.activity.ahead:
            try:
                lease = self.activity.ahead.pop()
            except IndexError:  # the worker took the last one just now
                break
            try:
                given_up += self._execute(statements.alone(statements.PUT_BACK), lease.fence)
            except (psycopg.Error, Error):
                self.activity.ahead.append(lease)  # the worker itself will come to it
                raise
        if given_up:
            self._execute(statements.RING, {"channel": CHANNEL})

    def _report_progress(self) -> None:
        """Write the newest progress, under the lease for which it was reported."""
        progress = self.activity.progress
        if progress is not None:
            lease, fraction, note = progress
            self._execute(statements.REPORT_PROGRESS, {**lease.fence, "progress": fraction, "note": note})
            if self.activity.progress is progress:
                self.activity.progress = None

    def _register(self) -> None:
        """Insert this process's row and take its lock in one transaction: nobody sees the row without the lock."""
        self._disconnect()
        self._connection = connection = private_connection()
        who = {"host": socket.gethostname(), "pid": os.getpid(), "cluster": self.cluster, "version": running_version()}
        with connection.transaction():
            row = connection.execute(REGISTER, who).fetchone()
            assert row is not None  # noqa: S101 - INSERT … RETURNING
            connection.execute(LOCK, {"space": LOCK_SPACE, "worker": row[0]})
        self.worker = row[0]
        self._beaten = time.monotonic()

    def _take_lock(self) -> None:
        """After a cut: connect again and hold the lock of the same row, unless it has been ended meanwhile."""
        self._connection = private_connection()
        self._connection.execute(LOCK, {"space": LOCK_SPACE, "worker": self.worker})
        self._beaten = 0.0

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


def private_connection() -> psycopg.Connection[Any]:
    """A new connection with Django's parameters, shared with nothing, in autocommit.

    Its commits need not wait for the disk: what is lost with the server is moot, since every lock is lost with it.
    """
    wrapper = connections.create_connection("default")
    wrapper.connect()
    connection: psycopg.Connection[Any] = wrapper.connection
    connection.execute("SET synchronous_commit = off")
    return connection


def live_workers() -> QuerySet[Worker]:
    """Workers that have not ended and beat."""
    return Worker.objects.filter(ended_at=None, beat_at__gt=Now() - SILENCE)


def running_version() -> str:
    """The installed version of taskqueue."""
    try:
        return version("taskqueue")
    except PackageNotFoundError:
        return "unpackaged"
