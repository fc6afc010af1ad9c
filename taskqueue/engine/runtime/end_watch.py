"""Wait for tasks to end: one thread and one connection for all waiting requests of this process.

A trigger notifies the connection when a watched task ends, in the transaction that ends it. A notification is only a
hint: a transaction that does not see the watch yet sends none. So a task's status is also read when a request
subscribes, shortly after, and then once a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import LiteralString
from uuid import UUID

from taskqueue.engine.runtime.watcher import WATCH_SECONDS, Listener, Watcher

CHANNEL = "taskqueue_end"
RECHECK_AFTER = 0.03
POLL_INTERVAL = 1.0
POOLER_POLL_INTERVAL = 0.04
"""Behind a pooler, which does not pass notifications on."""

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


class EndWatcher(Watcher):
    """The requests of this process that wait for ends. One that waits longer than its watch relies on the polls."""

    name = "taskqueue-end-watch"
    listen = LISTEN

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[UUID, list[Future[None]]] = {}
        self._new: set[UUID] = set()
        self._rechecks: deque[tuple[float, UUID]] = deque()
        self._poll_at = self._delete_at = 0.0

    @contextmanager
    def subscribe(self, task: UUID) -> Iterator[Future[None]]:
        """A future that is done when the task has ended."""
        ended: Future[None] = Future()
        with self._guard:
            self._check_process()
            self._waiting.setdefault(task, []).append(ended)
            self._new.add(task)
            self._ensure_thread()
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

    def _is_needed(self) -> bool:
        return bool(self._waiting)

    def _forget(self) -> None:
        self._waiting = {}

    def _begin(self) -> None:
        self._new.update(self._waiting)
        self._poll_at = 0.0

    def _serve(self, listener: Listener) -> float:
        """Watch new tasks, and read the status of due ones."""
        with self._guard:
            new, self._new = self._new & self._waiting.keys(), set()
            waiting = list(self._waiting)
        now = time.monotonic()
        if new and listener.is_notified:
            listener.connection.execute(WATCH, {"tasks": sorted(new), "seconds": WATCH_SECONDS})
        due = self._due(new, waiting, now, every=POLL_INTERVAL if listener.is_notified else POOLER_POLL_INTERVAL)
        if due:
            for (task,) in listener.connection.execute(ENDED, {"tasks": list(due)}).fetchall():
                self._notice(task)
        if listener.is_notified and now >= self._delete_at:
            listener.connection.execute(DELETE_EXPIRED)
            self._delete_at = now + WATCH_SECONDS
        return min([self._poll_at, *(moment for moment, _ in list(self._rechecks)[:1])]) - time.monotonic()

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

    def _notice(self, task: UUID) -> None:
        """Answer the requests that wait for this task."""
        with self._guard:
            futures = list(self._waiting.get(task, ()))
        for ended in futures:
            with suppress(InvalidStateError):  # it is done already, or cancelled
                ended.set_result(None)


watch = EndWatcher()
"""The watcher of this process."""
