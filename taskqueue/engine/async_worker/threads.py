"""The threads of an async worker: one for the engine's statements, and some for plain code that async tasks call."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections

from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.author_session import TRUSTED_IDLE
from taskqueue.engine.runtime.engine_threads import ENGINE_THREADS
from taskqueue.engine.runtime.forks import detach_children, exit_if_forked

CLOSE_AFTER: Final = 30.0
"""Seconds after which an idle thread closes its database connection."""

Item = tuple["Future[Any] | None", Callable[[], Any]]
"""What a thread calls, and the future of its result; without one the thread ends."""


class ConnectedThreads(Executor):
    """Threads that start when they are needed, each with its own database connection, closed when it is idle.

    Args:
        name: of the threads, which are numbered.
        most: how many threads.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._free = 0
        """How many threads wait for an item, less the items that wait for a thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in the next free thread."""
        future: Future[Any] = Future()
        with self._lock:
            if self._free > 0 or len(self._threads) == self._most:
                self._free -= 1
            else:
                name = f"{ENGINE_THREADS}{self._name}-{len(self._threads) + 1}"
                self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
                self._threads[-1].start()
        self._items.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Close the connections and end the threads, after the calls that were submitted before."""
        for _thread in self._threads:
            self._items.put((None, connections.close_all))
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        detach_children()
        used_at = time.monotonic()
        while True:
            try:
                future, call = self._items.get(timeout=CLOSE_AFTER)
            except queue.Empty:
                connections.close_all()
                future, call = self._items.get()
            if future is None:
                call()
                return
            if time.monotonic() - used_at > TRUSTED_IDLE:
                connection: Any = connections[DEFAULT_DB_ALIAS]
                connection.health_check_done = False  # the next statement tests the connection
            run_item(future, call)
            used_at = time.monotonic()
            with self._lock:
                self._free += 1


class AuthorThread(Executor):
    """Where an async task's plain code runs: one call at a time, each in a free thread of the process's.

    A call leaves nothing on the connection of its thread, which the next call of another task uses.

    Attributes:
        thread: the ident of the thread that executes a call now; 0 for none.
    """

    def __init__(self, journal: Journal, threads: ConnectedThreads, pid: int) -> None:
        self._journal, self._threads, self._pid = journal, threads, pid
        self._waiting: deque[Item] = deque()
        self._lock = threading.Lock()
        self._is_busy = False
        self._awaited_ends: list[Future[None]] = []
        self.thread = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function after those that wait.

        Raises:
            RuntimeError: the calling code is itself such a call, which would wait for itself.
        """
        if threading.get_ident() == self.thread:
            raise RuntimeError(
                "Plain code of an async task has started an event loop of its own, and calls plain code from there. "
                "Make that step async, or use async_to_sync()."
            )
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            is_first, self._is_busy = not self._is_busy, True
        if is_first:
            self._threads.submit(self._run_next)
        return future

    def _run_next(self) -> None:
        future, call = self._waiting.popleft()
        if future is not None:
            run_item(future, partial(self._call, call))
        with self._lock:
            is_more = self._is_busy = bool(self._waiting)
            ends, self._awaited_ends = ([], self._awaited_ends) if is_more else (self._awaited_ends, [])
        if is_more:
            self._threads.submit(self._run_next)
        for each in ends:
            each.set_result(None)

    async def all_ended(self) -> None:
        """Wait until no call runs or waits: a call goes on when the code that awaits it is cancelled."""
        with self._lock:
            if not self._is_busy:
                return
            end: Future[None] = Future()
            self._awaited_ends.append(end)
        await asyncio.wrap_future(end)

    def _call(self, call: Callable[[], Any]) -> Any:
        thread = self.thread = threading.get_ident()
        session = self._journal.session
        try:
            with session.watch():
                return call()
        finally:
            exit_if_forked(self._pid)
            self._journal.has_left_transaction |= session.has_open_transaction()
            session.mend()
            self._journal.sessions.pop(thread, None)
            self.thread = 0


class DefaultThreads(ThreadPoolExecutor):
    """The event loop's threads for `asyncio.to_thread()` and for names of hosts. A call leaves no connection open."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a free thread."""
        return super().submit(call_and_disconnect, fn, *args, **kwargs)


def call_and_disconnect(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    finally:
        for each in connections.all(initialized_only=True):
            each.close()
            del connections[each.alias]  # it may be inside a transaction that was left open


def run_item(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
