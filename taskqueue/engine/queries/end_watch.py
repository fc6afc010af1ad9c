"""Waiting for the ends of tasks: one thread and one connection for all who wait in this process.

The thread listens. PostgreSQL announces the end of a task for which somebody waits (see migration 0015), in the
transaction that ends it. An announcement is a hint: a watch that the ending transaction does not yet see gets none.
So each task is looked at when it is joined, once more soon after, and then once a second.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, contextmanager, suppress
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from django import db

from taskqueue.engine.runtime.sessions import NAME, is_server_itself, named, private_wrapper

CHANNEL = "taskqueue_end"
LONGEST = 60
"""Seconds for which a watch is kept. Who waits longer is told by the looks alone."""
SECOND_LOOK = 0.03
LOOK_EVERY = 1.0
POLL = 0.04
"""How often all are looked at where a pooler swallows announcements."""
CONNECT_AGAIN_AFTER = 0.5
LINGER = 10.0
"""How long the connection is kept when nobody waits any more."""

logger = logging.getLogger("taskqueue.engine")

SET_UP: LiteralString = (
    "SELECT set_config('lock_timeout', '1s', false), set_config('statement_timeout', '10s', false), "
    # A watch that a crash of the server takes with it has lost nothing.
    "set_config('synchronous_commit', 'off', false)"
)
LISTEN: LiteralString = f"LISTEN {CHANNEL}"
WATCH: LiteralString = """
INSERT INTO taskqueue_endwatch (task_id, until)
SELECT task, clock_timestamp() + make_interval(secs => %(seconds)s) FROM unnest(%(tasks)s::uuid[]) AS task ORDER BY task
ON CONFLICT (task_id) DO UPDATE SET until = EXCLUDED.until
"""
FORGET: LiteralString = """
DELETE FROM taskqueue_endwatch WHERE task_id IN (
    SELECT task_id FROM taskqueue_endwatch WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED
)
"""
ENDED: LiteralString = """
SELECT id FROM taskqueue_task WHERE id = ANY(%(tasks)s::uuid[]) AND status IN ('succeeded', 'failed', 'cancelled')
"""


class Ear:
    """The connection that hears announcements, or, behind a pooler, only looks.

    Attributes:
        connection: in autocommit.
        hears: whether announcements reach it.
    """

    def __init__(self, heard: Any) -> None:
        wrapper = private_wrapper(**{NAME: named("web listener")})
        wrapper.connect()
        self.connection: psycopg.Connection[Any] = wrapper.connection
        self.hears = is_server_itself(self.connection)
        if self.hears:  # else whatever is set here would stay with the pooler's next client
            self.connection.execute(SET_UP)
            self.connection.add_notify_handler(lambda notice: heard(UUID(notice.payload)))
            self.connection.execute(LISTEN)

    def take_in(self) -> None:
        """Hear what has arrived."""
        self.connection.pgconn.consume_input()
        while notice := self.connection.pgconn.notifies():
            if self.connection.pgconn.notify_handler:
                self.connection.pgconn.notify_handler(notice)


class EndWatch:
    """All who wait in this process for the end of a task."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[UUID, list[Future[None]]] = {}
        self._joined: set[UUID] = set()
        self._again: deque[tuple[float, UUID]] = deque()
        self._look_at = self._forget_at = 0.0
        self._thread: threading.Thread | None = None
        self._pid = 0

    @contextmanager
    def joined(self, task: UUID) -> Iterator[Future[None]]:
        """Wait for a task with the others; the future is done when it has ended."""
        ended: Future[None] = Future()
        with self._guard:
            if self._pid != os.getpid():  # forked: whoever waits there waits in the parent
                self._waiting, self._thread, self._pid = {}, None, os.getpid()
            self._waiting.setdefault(task, []).append(ended)
            self._joined.add(task)
            if self._thread is None:
                self._bell, self._ring = socket.socketpair()
                self._ring.settimeout(0)
                self._thread = threading.Thread(target=self._live, name="taskqueue-end-watch", daemon=True)
                self._thread.start()
            self._tell_thread()
        try:
            yield ended
        finally:
            with self._guard:
                others = self._waiting[task]
                others.remove(ended)
                if not others:
                    del self._waiting[task]
                if not self._waiting:
                    self._tell_thread()

    def _tell_thread(self) -> None:
        """Wake the thread: those who wait are others now."""
        with suppress(BlockingIOError):  # it has been told more often than it could listen
            self._ring.send(b"!")

    def _live(self) -> None:
        """Serve those who wait until nobody does; a lost connection is made again."""
        while not self._may_end():
            try:
                ear = Ear(self._wake)
                with closing(ear.connection), selectors.DefaultSelector() as selector:
                    selector.register(ear.connection.fileno(), selectors.EVENT_READ)
                    selector.register(self._bell, selectors.EVENT_READ)
                    self._rejoin()
                    while self._serve(ear, selector):
                        pass
            except (db.Error, psycopg.Error, OSError):
                time.sleep(CONNECT_AGAIN_AFTER)
            except Exception:  # without this thread all would wait in vain
                logger.exception("Waiting for the ends of tasks failed, and is begun anew")
                time.sleep(CONNECT_AGAIN_AFTER)

    def _serve(self, ear: Ear, selector: selectors.BaseSelector) -> bool:
        """Take in who has joined, look at whom it is time to, and wait. False when nobody has come for a while."""
        with self._guard:
            joined, self._joined = self._joined & self._waiting.keys(), set()
            everyone = list(self._waiting)
        now = time.monotonic()
        if joined and ear.hears:
            ear.connection.execute(WATCH, {"tasks": sorted(joined), "seconds": LONGEST})
        looked_at = self._due(joined, everyone, now, every=LOOK_EVERY if ear.hears else POLL)
        if looked_at:
            for (task,) in ear.connection.execute(ENDED, {"tasks": list(looked_at)}).fetchall():
                self._wake(task)
        if ear.hears and now >= self._forget_at:
            ear.connection.execute(FORGET)
            self._forget_at = now + LONGEST
        until = min([self._look_at, *(moment for moment, _ in list(self._again)[:1])]) - time.monotonic()
        ready = selector.select(max(0.0, until) if everyone else LINGER)
        with suppress(BlockingIOError):
            self._bell.recv(65_536, socket.MSG_DONTWAIT)
        ear.take_in()
        return bool(everyone or ready)

    def _due(self, joined: set[UUID], everyone: list[UUID], now: float, *, every: float) -> set[UUID]:
        """Whom to look at: who has just joined, who joined a moment ago, and now and then everyone."""
        due = set(joined)
        while self._again and self._again[0][0] <= now:
            due.add(self._again.popleft()[1])
        self._again.extend((now + SECOND_LOOK, task) for task in joined)
        if now >= self._look_at:
            self._look_at = now + every
            due.update(everyone)
        return due

    def _wake(self, task: UUID) -> None:
        """Tell those who wait for a task that it has ended."""
        with self._guard:
            told: Iterable[Future[None]] = list(self._waiting.get(task, ()))
        for ended in told:
            with suppress(InvalidStateError):  # it was told already, or waits no longer
                ended.set_result(None)

    def _rejoin(self) -> None:
        """Watch again for everyone: with the former connection a while has passed."""
        with self._guard:
            self._joined.update(self._waiting)
        self._look_at = 0.0

    def _may_end(self) -> bool:
        """Whether nobody waits any more; then this thread is no longer the one that serves."""
        with self._guard:
            if not self._waiting:
                self._thread = None
                for each in (self._bell, self._ring):
                    each.close()
            return self._thread is None


watch = EndWatch()
"""That of this process."""
