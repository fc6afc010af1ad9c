"""A thread with a connection that listens for notifications, for all requests of this process that wait for them."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from django import db

from taskqueue.engine.runtime.sessions import APPLICATION_NAME, is_direct_connection, private_wrapper, session_name

WATCH_SECONDS = 60
"""A watch expires after so many seconds."""
RECONNECT_DELAY = 0.5
IDLE_TIMEOUT = 10.0
"""The connection stays open for so long without a waiting request."""

logger = logging.getLogger("taskqueue.engine")

SET_UP: LiteralString = (
    "SELECT set_config('lock_timeout', '1s', false), set_config('statement_timeout', '10s', false), "
    # If a crash of the server loses a watch, the polls still find what it was for.
    "set_config('synchronous_commit', 'off', false)"
)


class Listener:
    """The connection that receives notifications about tasks; behind a pooler it only polls.

    Attributes:
        connection: in autocommit.
        is_notified: whether notifications reach it.
    """

    def __init__(self, listen: LiteralString, on_notification: Callable[[UUID], None]) -> None:
        wrapper = private_wrapper(**{APPLICATION_NAME: session_name("web listener")})
        wrapper.connect()
        self.connection: psycopg.Connection[Any] = wrapper.connection
        self.is_notified = is_direct_connection(self.connection)
        if self.is_notified:  # a pooler would hand these settings on to its next client
            self.connection.execute(SET_UP)
            self.connection.add_notify_handler(lambda notify: on_notification(UUID(notify.payload)))
            self.connection.execute(listen)

    def read_notifications(self) -> None:
        """Pass the notifications that have arrived to the handler."""
        self.connection.pgconn.consume_input()
        while notify := self.connection.pgconn.notifies():
            if self.connection.pgconn.notify_handler:
                self.connection.pgconn.notify_handler(notify)


class Watcher:
    """A thread that starts with the first waiting request and ends after the last one. It reconnects by itself."""

    name: str
    listen: LiteralString

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def _is_needed(self) -> bool:
        """Whether a request waits. Under the guard."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Forget all requests: after a fork they are the parent's. Under the guard."""
        raise NotImplementedError

    def _notice(self, task: UUID) -> None:
        """Note a notification about a task."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Note that the connection is new: notifications before it are lost. Under the guard."""
        raise NotImplementedError

    def _serve(self, listener: Listener) -> float:
        """Write watches and read what is due. Returns after how many seconds it is to be called again."""
        raise NotImplementedError

    def _check_process(self) -> None:
        """Called before a request is added, under the guard."""
        if self._pid != os.getpid():
            self._forget()
            self._thread, self._pid = None, os.getpid()

    def _ensure_thread(self) -> None:
        """Start the thread, or wake it. Under the guard."""
        if self._thread is None:
            self._wake_receiver, self._wake_sender = socket.socketpair()
            self._wake_sender.settimeout(0)
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        self._wake_thread()

    def _wake_thread(self) -> None:
        with suppress(BlockingIOError):  # the buffer is full of earlier wake-ups
            self._wake_sender.send(b"!")

    def _run(self) -> None:
        """Serve the waiting requests until there are none; reconnect after a lost connection."""
        while not self._stop_if_idle():
            try:
                listener = Listener(self.listen, self._notice)
                with closing(listener.connection), selectors.DefaultSelector() as selector:
                    selector.register(listener.connection.fileno(), selectors.EVENT_READ)
                    selector.register(self._wake_receiver, selectors.EVENT_READ)
                    with self._guard:
                        self._begin()
                    while self._serve_and_wait(listener, selector):
                        pass
            except (db.Error, psycopg.Error, OSError):
                time.sleep(RECONNECT_DELAY)
            except Exception:  # the thread must go on, or requests wait until their timeout
                logger.exception("The thread %s failed, and is started again", self.name)
                time.sleep(RECONNECT_DELAY)

    def _serve_and_wait(self, listener: Listener, selector: selectors.BaseSelector) -> bool:
        """Returns False after IDLE_TIMEOUT without a request."""
        with self._guard:
            is_needed = self._is_needed()
        pause = self._serve(listener)
        ready = selector.select(max(0.0, pause) if is_needed else IDLE_TIMEOUT)
        with suppress(BlockingIOError):
            self._wake_receiver.recv(65_536, socket.MSG_DONTWAIT)
        listener.read_notifications()
        return bool(is_needed or ready)

    def _stop_if_idle(self) -> bool:
        """Whether no request waits; then the thread ends, and the next request starts another."""
        with self._guard:
            if not self._is_needed():
                self._thread = None
                for end in (self._wake_receiver, self._wake_sender):
                    end.close()
            return self._thread is None
