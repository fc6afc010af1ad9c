"""Follow tasks: one thread and one connection for all streams of this process, and one query for all that may be new.

A trigger and each batch of chunks notify the connection. A notification is only a hint: all streams are read once a
second too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, LiteralString
from uuid import UUID

from taskqueue.engine import sql
from taskqueue.engine.runtime.watcher import WATCH_SECONDS, Listener, Watcher
from taskqueue.engine.streams.changes import Changes, Event, State, states_of, values_of
from taskqueue.engine.streams.position import Position

LISTEN: LiteralString = "LISTEN taskqueue_stream"
POLL_INTERVAL = 1.0
POOLER_POLL_INTERVAL = 0.25
"""Behind a pooler, which does not pass notifications on."""
READ_AT_ONCE: Final = 200

OnEvents = Callable[[list[Event], bool], None]
"""Called in the watcher's thread with new events, and whether they are the last ones."""


class Stream:
    """A caller that follows a task.

    Attributes:
        position: what was passed to `on_events` so far.
        is_ready: whether its consumer has taken that. Until then nothing is read for it, however slow it is.
        is_due: whether something may be new.
    """

    def __init__(self, task: UUID, position: Position, on_events: OnEvents) -> None:
        self.task = task
        self.position = position
        self.on_events = on_events
        self.is_ready = False
        self.is_due = True


class StreamWatcher(Watcher):
    """The streams of this process."""

    name = "taskqueue-streams"
    listen = LISTEN

    def __init__(self) -> None:
        super().__init__()
        self._streams: dict[UUID, list[Stream]] = {}
        self._new: set[UUID] = set()
        self._poll_at = self._renew_at = 0.0

    @contextmanager
    def follow(self, task: UUID, position: Position, on_events: OnEvents) -> Iterator[Callable[[], None]]:
        """Follow a task from a position on. Yields a function that requests the next events, once for each batch."""
        stream = Stream(task, position, on_events)
        with self._guard:
            self._check_process()
            self._streams.setdefault(task, []).append(stream)
            self._new.add(task)
            self._ensure_thread()
        try:
            yield lambda: self._request(stream)
        finally:
            with self._guard:
                others = self._streams.get(task, [])
                others[:] = [each for each in others if each is not stream]
                if not others:
                    self._streams.pop(task, None)
                if not self._streams:
                    self._wake_thread()

    def _request(self, stream: Stream) -> None:
        with self._guard:
            stream.is_ready = True
            if stream.is_due:
                self._wake_thread()

    def _is_needed(self) -> bool:
        return bool(self._streams)

    def _forget(self) -> None:
        self._streams = {}

    def _begin(self) -> None:
        self._poll_at = self._renew_at = 0.0

    def _notice(self, task: UUID) -> None:
        with self._guard:
            for stream in self._streams.get(task, ()):
                stream.is_due = True

    def _serve(self, listener: Listener) -> float:
        """Write watches, and read what is new for the streams that are due."""
        now = time.monotonic()
        if listener.is_notified:
            self._write_watches(listener, now)
        due = self._take_due(now, POLL_INTERVAL if listener.is_notified else POOLER_POLL_INTERVAL)
        for first in range(0, len(due), READ_AT_ONCE):
            self._read(listener, due[first : first + READ_AT_ONCE])
        with self._guard:
            is_waiting = any(each.is_due and each.is_ready for some in self._streams.values() for each in some)
        return 0.0 if is_waiting else self._poll_at - time.monotonic()

    def _write_watches(self, listener: Listener, now: float) -> None:
        is_renewal = now >= self._renew_at
        with self._guard:
            new = set(self._streams) if is_renewal else self._new & self._streams.keys()
            self._new = set()
        if new:
            listener.connection.execute(sql.WATCH_STREAMS, {"tasks": sorted(new), "seconds": WATCH_SECONDS})
        if is_renewal:
            listener.connection.execute(sql.DELETE_EXPIRED_STREAM_WATCHES)
            self._renew_at = now + WATCH_SECONDS / 2

    def _take_due(self, now: float, interval: float) -> list[Stream]:
        is_poll = now >= self._poll_at
        if is_poll:
            self._poll_at = now + interval
        with self._guard:
            streams = [stream for some in self._streams.values() for stream in some]
            for stream in streams if is_poll else ():
                stream.is_due = True
            due = [stream for stream in streams if stream.is_due and stream.is_ready]
            for stream in due:
                stream.is_due = False
        return due

    def _read(self, listener: Listener, due: list[Stream]) -> None:
        values = values_of([(each.task, each.position) for each in due])
        found = states_of(listener.connection.execute(sql.READ_STREAMS, values).fetchall())
        for number, stream in enumerate(due):
            if number in found:
                self._pass_on(stream, found[number])
            else:  # the task was deleted
                stream.on_events([], True)  # noqa: FBT003 - the call of a callback

    def _pass_on(self, stream: Stream, state: State) -> None:
        changes = Changes.since(stream.position, state)
        stream.position = changes.position
        with self._guard:
            stream.is_due = stream.is_due or (state.has_more and not changes.is_end)
            stream.is_ready = not changes.events
        if changes.events:
            stream.on_events(changes.events, changes.is_end)


watch = StreamWatcher()
"""The watcher of this process."""
