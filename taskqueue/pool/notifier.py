"""The doorbell: a django-q2 broker that tells idle worker processes when there is something to claim."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

import psycopg
from django import db
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from taskqueue.engine.maintenance import dispatch, sweeps
from taskqueue.engine.runtime import database_errors, notify
from taskqueue.engine.runtime.outages import OVER
from taskqueue.pool import claimed_tasks
from taskqueue.pool.listener import Listener
from taskqueue.pool.shared_memory import STOP, Board

logger = logging.getLogger("taskqueue.workers")

Message = tuple[int | None, str]
"""What django-q2 wants of a broker: the id to acknowledge, None for nothing, and the signed package."""

FIRST_PAUSE = 0.02
LONGEST_PAUSE = notify.LOOK_EVERY
SHORTEST_PAUSE = 0.004
"""A burst of rings is answered by one look."""
RECONNECT_AFTER = 0.5
AWAY = (*database_errors.AWAY, psycopg.OperationalError, psycopg.InterfaceError)
LEISURE = 5.0
"""Seconds between two looks at what may wait."""
PATIENCE = "10s"
"""How long any statement of the doorbell's process may take; each reads or writes a bounded number of rows."""
IMPATIENCE = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)
FULL = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.DiskFull)
A_YEAR = 365 * 24 * 3600

CLAIM_MESSAGES = """
    UPDATE django_q_ormq SET lock = clock_timestamp() + make_interval(secs => %s)
    WHERE id IN (
        SELECT id FROM django_q_ormq WHERE key = %s AND lock < clock_timestamp()
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    )
    RETURNING id, payload
"""
GIVE_BACK_MESSAGE = "UPDATE django_q_ormq SET lock = clock_timestamp() WHERE id = %s"


class Queue(Protocol):
    """The queue to the workers, as far as the doorbell looks at it."""

    def qsize(self) -> int: ...


class Doorbell(ORM):  # type: ignore[misc]  # django-q2 carries no types
    """Rings for due tasks, and passes on ordinary django-q2 messages. It never claims a task.

    A wake-up is a hint: the worker that gets one claims for itself, when it is free. Nothing is lost with it.
    """

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key=list_key)
        self._listener = Listener(Conf.ORM or db.DEFAULT_DB_ALIAS)
        self._rhythm = Rhythm()
        self._outage = Outage()
        self._queue: Queue | None = None
        self._board: Board | None = None
        self._pause = 0.0
        self._looked_at = 0.0
        self._tidied_at = 0.0

    def dequeue(self) -> Iterator[Message]:
        """Wait until there may be something to do, and yield what to give to the workers. Never raises.

        A ring wakes a waiting worker at once, and only then is it looked for how many more there is work.
        """
        try:
            rung = self._listener.wait(self._pause)
            if STOP.is_set():
                return
            if rung:
                STOP.wait(self._looked_at + SHORTEST_PAUSE - time.monotonic())
            hasty = rung and self._someone_waits()
            if hasty:
                yield None, self._wakeup
            yield from self._look(rung=rung, woken=hasty)
            self._tidy()
        except Exception as error:  # noqa: BLE001 - django-q2 would sleep for ten seconds and start a new process
            self._recover_from(error)
            # It answers, but not to this: a worker that tries for itself succeeds, or tells on its row why it cannot.
            if not isinstance(error, AWAY) or isinstance(error.__cause__, IMPATIENCE):
                yield from [(None, self._wakeup)] * min(self._room(), 1)
        else:
            self._outage.is_over()

    def enqueue(self, task: str) -> int:
        """Put an ordinary message into the caller's transaction, and ring when it commits."""
        message_id: int = super().enqueue(task)
        notify.notify_on_commit()
        return message_id

    def give_back(self, message_id: int | None) -> None:
        """Let another cluster have an ordinary message that this one took and did not begin."""
        with self._database().cursor() as cursor:
            cursor.execute(GIVE_BACK_MESSAGE, [message_id])

    def feed(self, queue: Queue, board: Board) -> None:
        """Ring only while there is room in this queue, so that the process that rings never has to wait for it.

        Args:
            queue: leads to the workers.
            board: where to say that the database does not answer.
        """
        self._queue, self._board = queue, board

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:  # noqa: ARG004 - django-q2's signature
        """The rows of ordinary messages; as the original, but without connecting just to have a look."""
        connection = Doorbell._database()
        if connection.connection is None or connection.autocommit:
            db.close_old_connections()
        return OrmQ.objects.using(connection.alias)

    def _look(self, *, rung: bool, woken: bool) -> Iterator[Message]:
        messages = self._claim_messages()
        # Before anything else that can fail: they are locked for as long as django-q2's `retry`.
        yield from messages
        due = dispatch.run_due(Conf.WORKERS)
        self._looked_at = time.monotonic()
        self._pause = self._rhythm.pause(rung=rung, claimable=due.claimable, next_due_in=due.next_due_in)
        if messages:
            self._pause = 0.0
        # What is claimable was not counted. One worker is on its way to it, and the next look wakes the others.
        if due.claimable and not woken:
            yield from [(None, self._wakeup)] * self._room()

    def _tidy(self) -> None:
        """Do what may wait, after the workers have been rung."""
        if time.monotonic() - self._tidied_at >= LEISURE:
            self._tidied_at = time.monotonic()
            sweeps.run_low_priority()

    def _claim_messages(self) -> list[Message]:
        with self._database().cursor() as cursor:
            cursor.execute(CLAIM_MESSAGES, [Conf.RETRY, self.list_key, max(Conf.BULK, 1)])
            return list(cursor.fetchall())

    def _someone_waits(self) -> bool:
        if self._queue is None or self._board is None:
            return False
        return self._queue.qsize() == 0 and not self._board.everyone_is_busy()

    @staticmethod
    def _database() -> BaseDatabaseWrapper:
        return db.connections[Conf.ORM or db.DEFAULT_DB_ALIAS]

    def _room(self) -> int:
        limit: int = Conf.WORKERS
        if self._queue is None:
            return limit
        return max(0, (Conf.QUEUE_LIMIT or limit) - self._queue.qsize())

    @cached_property
    def _wakeup(self) -> str:
        """The package of every wake-up. It is busy work to django-q2 while it has a timeout; ours never ends one."""
        package = {
            "id": "0" * 32,
            "name": "wake-up",
            "func": f"{claimed_tasks.answer.__module__}.{claimed_tasks.answer.__qualname__}",
            "args": (),
            "kwargs": {},
            "save": False,
            "timeout": A_YEAR,
            "started": timezone.now(),  # noqa: TID251 - only a failed wake-up would be stored, by django-q2's clock
        }
        signed: str = SignedPackage.dumps(package)
        return signed

    def _recover_from(self, error: Exception) -> None:
        self._outage.goes_on(error)
        if self._board is not None:
            self._board.excuse()
        self._pause = 0.0
        for close in (self._listener.close, self._database().close):
            try:
                close()
            except (db.Error, psycopg.Error):
                logger.debug("A broken connection did not close cleanly", exc_info=True)
        STOP.wait(RECONNECT_AFTER)


def bound_statements(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Let a new connection of the doorbell's process give up a statement that takes too long, as behind a lock."""
    if connection.vendor == "postgresql":
        connection.connection.execute(f"SET statement_timeout = '{PATIENCE}'")


class Rhythm:
    """How long to wait for a ring before looking again."""

    def __init__(self) -> None:
        self._stuck_pause = FIRST_PAUSE

    def pause(self, *, rung: bool, claimable: int, next_due_in: timedelta | None) -> float:
        """Until the next timer, at most a second.

        Work that is due and that no worker takes must not make the notifier spin: then each pause is twice the last
        one, until something rings or nothing is left.
        """
        until_due = LONGEST_PAUSE if next_due_in is None else next_due_in.total_seconds()
        stuck = claimable > 0 or until_due <= 0
        if rung or not stuck:
            self._stuck_pause = FIRST_PAUSE
        if not stuck:
            return min(max(until_due, SHORTEST_PAUSE), LONGEST_PAUSE)
        pause, self._stuck_pause = self._stuck_pause, min(self._stuck_pause * 2, LONGEST_PAUSE)
        return pause


class Outage:
    """Tells of a database that is away once, and once more when it is back."""

    def __init__(self) -> None:
        self._last = ""

    def goes_on(self, error: Exception) -> None:
        """Log the error, unless it is the last one again."""
        line = database_errors.message_of(error)
        if line == self._last:
            return
        if isinstance(error.__cause__, FULL):
            logger.error("The database takes nothing in; asking again every second: %s", line)
        elif isinstance(error, AWAY):
            logger.error("The database does not answer; asking again every second: %s", line)
        else:
            logger.error("Looking for work failed; trying again every second: %s", line, exc_info=error)
        self._last = line

    def is_over(self) -> None:
        """Log that all is well, if it was not."""
        if self._last:
            logger.warning(OVER)
            self._last = ""
