"""Wait for tasks to end: one thread and one connection for all waiting requests of this process.

A trigger notifies the connection when a watched task ends, in the transaction that ends it. A notification is only a
hint: a transaction that does not see the watch yet sends none. So a task's status is also read when a request
subscribes, shortly after, and then once a second.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, contextmanager, suppress
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from django import db

from taskqueue.engine.runtime.sessions import APPLICATION_NAME, is_direct_connection, private_wrapper, session_name

CHANNEL = "taskqueue_end"
WATCH_SECONDS = 60
"""A watch expires after so many seconds. A request that waits longer relies on the polls."""
RECHECK_AFTER = 0.03
POLL_INTERVAL = 1.0
POOLER_POLL_INTERVAL = 0.04
"""Behind a pooler, which does not pass notifications on."""
RECONNECT_DELAY = 0.5
IDLE_TIMEOUT = 10.0
"""The connection stays open for so long without a waiting request."""

logger = logging.getLogger("taskqueue.engine")

SET_UP: LiteralString = (
    "SELECT set_config('lock_timeout', '1s', false), set_config('statement_timeout', '10s', false), "
    # If a crash of the server loses a watch, the polls still find the end.
    "set_config('synchronous_commit', 'off', false)"
)
LISTEN: LiteralString = f"LISTEN {CHANNEL}"
WATCH: LiteralString = """
INSERT INTO taskqueue_endwatch (task_id, until)
SELECT task, clock_timestamp() + make_interval(secs => %(seconds)s) FROM unnest(%(tasks)s::uuid[]) AS task ORDER BY task
ON CONFLICT (task_id) DO UPDATE SET until = EXCLUDED.until
"""
DELETE_EXPIRED: LiteralString = """
DELETE FROM taskqueue_endwatch WHERE task_id IN (
    SELECT task_id FROM taskqueue_endwatch WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED
)
"""
ENDED: LiteralString = """
SELECT id FROM taskqueue_task WHERE id = ANY(%(tasks)s::uuid[]) AND status IN ('succeeded', 'failed', 'cancelled')
"""


class Listener:
    """The connection that receives notifications; behind a pooler it only polls.

    Attributes:
        connection: in autocommit.
        is_notified: whether notifications reach it.
    """

    def __init__(self, on_end: Callable[[UUID], None]) -> None:
        wrapper = private_wrapper(**{APPLICATION_NAME: session_name("web listener")})
        wrapper.connect()
        self.connection: psycopg.Connection[Any] = wrapper.connection
        self.is_notified = is_direct_connection(self.connection)
        if self.is_notified:  # a pooler would hand these settings on to its next client
            self.connection.execute(SET_UP)
            self.connection.add_notify_handler(lambda notify: on_end(UUID(notify.payload)))
            self.connection.execute(LISTEN)

    def read_notifications(self) -> None:
        """Pass the notifications that have arrived to the handler."""
        self.connection.pgconn.consume_input()
        while notify := self.connection.pgconn.notifies():
            if self.connection.pgconn.notify_handler:
                self.connection.pgconn.notify_handler(notify)


class EndWatcher:
    """The waiting requests of this process, and the thread that serves them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[UUID, list[Future[None]]] = {}
        self._new: set[UUID] = set()
        self._rechecks: deque[tuple[float, UUID]] = deque()
        self._poll_at = self._delete_at = 0.0
        self._thread: threading.Thread | None = None
        self._pid = 0

    @contextmanager
    def subscribe(self, task: UUID) -> Iterator[Future[None]]:
        """A future that is done when the task has ended."""
        ended: Future[None] = Future()
        with self._guard:
            if self._pid != os.getpid():  # after a fork: the waiting requests are the parent's
                self._waiting, self._thread, self._pid = {}, None, os.getpid()
            self._waiting.setdefault(task, []).append(ended)
            self._new.add(task)
            if self._thread is None:
                self._wake_receiver, self._wake_sender = socket.socketpair()
                self._wake_sender.settimeout(0)
                self._thread = threading.Thread(target=self._run, name="taskqueue-end-watch", daemon=True)
                self._thread.start()
            self._wake_thread()
        try:
            yield ended
        finally:
            with self._guard:
                others = self._waiting[task]
                others.remove(ended)
                if not others:
                    del self._waiting[task]
                if not self._waiting:
                    self._wake_thread()

    def _wake_thread(self) -> None:
        with suppress(BlockingIOError):  # the buffer is full of earlier wake-ups
            self._wake_sender.send(b"!")

    def _run(self) -> None:
        """Serve the waiting requests until there are none; reconnect after a lost connection."""
        while not self._stop_if_idle():
            try:
                listener = Listener(self._resolve)
                with closing(listener.connection), selectors.DefaultSelector() as selector:
                    selector.register(listener.connection.fileno(), selectors.EVENT_READ)
                    selector.register(self._wake_receiver, selectors.EVENT_READ)
                    with self._guard:
                        self._new.update(self._waiting)  # notifications between two connections are lost
                    self._poll_at = 0.0
                    while self._serve(listener, selector):
                        pass
            except (db.Error, psycopg.Error, OSError):
                time.sleep(RECONNECT_DELAY)
            except Exception:  # the thread must go on, or requests wait until their timeout
                logger.exception("Waiting for the ends of tasks failed, and is started again")
                time.sleep(RECONNECT_DELAY)

    def _serve(self, listener: Listener, selector: selectors.BaseSelector) -> bool:
        """Watch new tasks, read the status of due ones, and wait. False after IDLE_TIMEOUT without a request."""
        with self._guard:
            new, self._new = self._new & self._waiting.keys(), set()
            waiting = list(self._waiting)
        now = time.monotonic()
        if new and listener.is_notified:
            listener.connection.execute(WATCH, {"tasks": sorted(new), "seconds": WATCH_SECONDS})
        due = self._due(new, waiting, now, every=POLL_INTERVAL if listener.is_notified else POOLER_POLL_INTERVAL)
        if due:
            for (task,) in listener.connection.execute(ENDED, {"tasks": list(due)}).fetchall():
                self._resolve(task)
        if listener.is_notified and now >= self._delete_at:
            listener.connection.execute(DELETE_EXPIRED)
            self._delete_at = now + WATCH_SECONDS
        until = min([self._poll_at, *(moment for moment, _ in list(self._rechecks)[:1])]) - time.monotonic()
        ready = selector.select(max(0.0, until) if waiting else IDLE_TIMEOUT)
        with suppress(BlockingIOError):
            self._wake_receiver.recv(65_536, socket.MSG_DONTWAIT)
        listener.read_notifications()
        return bool(waiting or ready)

    def _due(self, new: set[UUID], waiting: list[UUID], now: float, *, every: float) -> set[UUID]:
        """The tasks whose status is to be read: new ones, rechecks, and now and then all."""
        due = set(new)
        while self._rechecks and self._rechecks[0][0] <= now:
            due.add(self._rechecks.popleft()[1])
        self._rechecks.extend((now + RECHECK_AFTER, task) for task in new)
        if now >= self._poll_at:
            self._poll_at = now + every
            due.update(waiting)
        return due

    def _resolve(self, task: UUID) -> None:
        with self._guard:
            futures = list(self._waiting.get(task, ()))
        for ended in futures:
            with suppress(InvalidStateError):  # it is done already, or cancelled
                ended.set_result(None)

    def _stop_if_idle(self) -> bool:
        """Whether no request waits; then the thread ends, and the next request starts another."""
        with self._guard:
            if not self._waiting:
                self._thread = None
                for end in (self._wake_receiver, self._wake_sender):
                    end.close()
            return self._thread is None


watch = EndWatcher()
"""The watcher of this process."""
