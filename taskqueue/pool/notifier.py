"""The notifier: a django-q2 broker that wakes idle worker processes when a task can be claimed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import Any

import psycopg
from django import db
from django.db.backends.base.base import BaseDatabaseWrapper
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from taskqueue.engine.maintenance import dispatch, sweeps
from taskqueue.engine.runtime import database_errors, notify
from taskqueue.engine.runtime.outages import RECOVERED
from taskqueue.pool import claimed_tasks
from taskqueue.pool.listener import Listener
from taskqueue.pool.shared_memory import STOP, PoolStatus

logger = logging.getLogger("taskqueue.workers")

Message = tuple[int | None, str]
"""What django-q2 expects of a broker: the id to acknowledge, None for nothing, and the signed package."""

FIRST_PAUSE = 0.02
MAX_PAUSE = notify.POLL_INTERVAL
MIN_PAUSE = 0.004
"""Seconds between two queries for due work; a burst of notifications costs one."""
RECONNECT_AFTER = 0.5
LOW_PRIORITY_EVERY = 5.0
STATEMENT_TIMEOUT = "10s"
"""Of each statement of this process. Each one reads or writes a bounded number of rows."""
CONNECTION_ERRORS = (*database_errors.CONNECTION_ERRORS, psycopg.OperationalError, psycopg.InterfaceError)
TIMEOUT_ERRORS = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)
READ_ONLY_ERRORS = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.DiskFull)

CLAIM_MESSAGES = """
    UPDATE django_q_ormq SET lock = clock_timestamp() + make_interval(secs => %s)
    WHERE id IN (
        SELECT id FROM django_q_ormq WHERE key = %s AND lock < clock_timestamp()
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    )
    RETURNING id, payload
"""
RELEASE_MESSAGE = "UPDATE django_q_ormq SET lock = clock_timestamp() WHERE id = %s"


class NotifierBroker(ORM):  # type: ignore[misc]  # django-q2 carries no types
    """Wakes workers for due tasks, and passes on ordinary django-q2 messages. It never claims a task.

    It rings the bells of worker processes. A ring is a hint: a woken worker claims for itself, and a lost ring costs no
    task.
    """

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key=list_key)
        self._listener = Listener(Conf.ORM or db.DEFAULT_DB_ALIAS)
        self._backoff = PollBackoff()
        self._outage = OutageLog()
        self._queue: Any = None
        self._status: PoolStatus | None = None
        self._pause = 0.0
        self._polled_at = 0.0
        self._swept_at = 0.0

    def dequeue(self) -> Iterator[Message]:
        """Wait until work may be due, and yield the messages for the workers. Never raises.

        A notification wakes one free thread at once, before the query that tells how many workers have work.
        """
        try:
            notified = self._listener.wait(self._pause)
            if notified and not STOP.is_set():
                STOP.wait(self._polled_at + MIN_PAUSE - time.monotonic())
            if STOP.is_set():
                return
            woke_one = notified and self._ring(every=False)
            yield from self._find_work(notified=notified, woke_one=woke_one)
            self._sweep()
        except Exception as error:  # noqa: BLE001 - django-q2 would sleep for ten seconds and start a new process
            self._recover_from(error)
            # The database answers, but not this query: a worker claims for itself, or shows its claim error.
            answers = not isinstance(error, CONNECTION_ERRORS) or isinstance(error.__cause__, TIMEOUT_ERRORS)
            if answers and not STOP.is_set() and not self._ring(every=False) and self._status is None:
                yield None, self._wakeup
        else:
            self._outage.end()

    def enqueue(self, task: str) -> int:
        """Put an ordinary message into the caller's transaction, and notify when it commits."""
        message_id: int = super().enqueue(task)
        notify.notify_on_commit()
        return message_id

    def release_message(self, message_id: int | None) -> None:
        """Let another cluster have an ordinary message that this cluster took and did not begin."""
        with self._database().cursor() as cursor:
            cursor.execute(RELEASE_MESSAGE, [message_id])

    def attach(self, queue: Any, status: PoolStatus) -> None:
        """Send wake-ups only while this queue has room, so that the notifier never blocks on it.

        Args:
            queue: leads to the workers; only its `qsize` is called.
            status: where to note that the database does not answer.
        """
        self._queue, self._status = queue, status

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:  # noqa: ARG004 - django-q2's signature
        """Return the rows of ordinary messages. Unlike django-q2's own, this opens no connection for it."""
        connection = NotifierBroker._database()
        if connection.connection is None or connection.autocommit:
            db.close_old_connections()
        return OrmQ.objects.using(connection.alias)

    def _find_work(self, *, notified: bool, woke_one: bool) -> Iterator[Message]:
        messages = self._claim_messages()
        # First, before anything that can fail: these messages are locked for as long as django-q2's `retry`.
        yield from messages
        open_queues = self._status.open_queues() if self._status is not None else None
        due = dispatch.run_due(Conf.WORKERS, open_queues)
        self._polled_at = time.monotonic()
        is_new = notified or due.queued
        # Tasks of other queues are not counted then: a thread may become free for them before the next poll.
        claimable = due.claimable or int(open_queues is not None)
        self._pause = self._backoff.pause(is_new=is_new, claimable=claimable, next_due_in=due.next_due_in)
        if messages:
            self._pause = 0.0
        # `claimable` is no count. The worker that was woken may be enough; the next query wakes the others.
        if due.claimable and not woke_one and not self._ring(every=True) and self._status is None:
            yield from [(None, self._wakeup)] * self._room()

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at >= LOW_PRIORITY_EVERY:
            self._swept_at = time.monotonic()
            sweeps.run_low_priority()

    def _claim_messages(self) -> list[Message]:
        """Claim as many ordinary messages as the queue takes: the others stay where another command can take them."""
        if not (room := min(self._room(), max(Conf.BULK, 1))):
            return []
        with self._database().cursor() as cursor:
            cursor.execute(CLAIM_MESSAGES, [Conf.RETRY, self.list_key, room])
            return list(cursor.fetchall())

    def _ring(self, *, every: bool) -> bool:
        """Wake one process or all that could claim, as `PoolStatus.ring` does; not under `manage.py qcluster`."""
        return self._status is not None and self._status.ring(every=every)

    @staticmethod
    def _database() -> BaseDatabaseWrapper:
        return db.connections[Conf.ORM or db.DEFAULT_DB_ALIAS]

    def _room(self) -> int:
        """How many messages the workers' queue takes. None while every process is busy and reads no messages.

        A full queue would block this process, and with it all wake-ups of free threads.
        """
        processes: int = Conf.WORKERS
        if self._queue is None:
            return processes
        if self._status is not None and not self._status.has_idle_process():
            return 0
        return max(0, int(Conf.QUEUE_LIMIT or processes) - int(self._queue.qsize()))

    @cached_property
    def _wakeup(self) -> str:
        """The signed message that wakes a worker of `manage.py qcluster`, which has no bell."""
        signed: str = SignedPackage.dumps(claimed_tasks.wakeup())
        return signed

    def _recover_from(self, error: Exception) -> None:
        self._outage.report(error)
        if self._status is not None:
            self._status.mark_unavailable()
        self._pause = 0.0
        for close in (self._listener.close, self._database().close):
            try:
                close()
            except (db.Error, psycopg.Error):
                logger.debug("A broken connection did not close cleanly", exc_info=True)
        STOP.wait(RECONNECT_AFTER)


def set_statement_timeout(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Limit the statements of a new connection of the notifier's process, which may wait behind a lock."""
    if connection.vendor == "postgresql":
        connection.connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")


class PollBackoff:
    """How long to wait for a notification before the next query for due work."""

    def __init__(self) -> None:
        self._unclaimed_pause = FIRST_PAUSE

    def pause(self, *, is_new: bool, claimable: int, next_due_in: timedelta | None) -> float:
        """Seconds until the next timer, at most `MAX_PAUSE`.

        Due work that no worker claims must not make the notifier spin: then each pause is twice the last one, until
        no such work is left or new work comes: by a notification, or by a timer, as that of a task under a rate limit.
        """
        until_due = MAX_PAUSE if next_due_in is None else next_due_in.total_seconds()
        is_unclaimed = claimable > 0 or until_due <= 0
        if is_new or not is_unclaimed:
            self._unclaimed_pause = FIRST_PAUSE
        if not is_unclaimed:
            return min(max(until_due, MIN_PAUSE), MAX_PAUSE)
        pause, self._unclaimed_pause = self._unclaimed_pause, min(self._unclaimed_pause * 2, MAX_PAUSE)
        return pause


class OutageLog:
    """Logs each outage of the database once, and once more when the outage is over."""

    def __init__(self) -> None:
        self._last = ""

    def report(self, error: Exception) -> None:
        line = database_errors.error_message(error)
        if line == self._last:
            return
        if isinstance(error.__cause__, READ_ONLY_ERRORS):
            logger.error("The database accepts no writes; retrying: %s", line)
        elif isinstance(error, CONNECTION_ERRORS):
            logger.error("The database does not answer; retrying: %s", line)
        else:
            logger.error("Looking for work failed; retrying: %s", line, exc_info=error)
        self._last = line

    def end(self) -> None:
        if self._last:
            logger.warning(RECOVERED)
            self._last = ""
