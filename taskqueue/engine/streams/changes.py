"""What is new for a stream, as events in the order in which its caller gets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from taskqueue.engine import sql
from taskqueue.engine.sql.streams.changes import CHUNKS_AT_ONCE, LOGS_AT_ONCE
from taskqueue.engine.streams.position import Position, digest_of
from taskqueue.errors import TaskNotFound
from taskqueue.states import ENDED, TaskStatus

Log = tuple[int, str, dict[str, Any]]
"""The id of the attempt or the time of the step, the step's key, and the log."""


@dataclass(frozen=True)
class Event:
    """One event: `status`, `progress`, `log`, `chunk` or `end`.

    Attributes:
        position: what the caller has seen after it.
        is_secret: whether it may repeat a secret; only of chunks.
    """

    name: str
    position: Position
    data: dict[str, Any]
    is_secret: bool = False


@dataclass(frozen=True, kw_only=True)
class State:
    """A followed task, and what is new of it, as `sql.READ_STREAMS` returns it."""

    pipeline: str
    status: str
    progress: float | None
    progress_note: str
    current_step: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    error: dict[str, Any] | None
    chunks: Sequence[tuple[int, str, int, int, str, bool, bool]]
    attempts: Sequence[Log]
    steps: Sequence[Log]
    report: Log | None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def has_more(self) -> bool:
        """Whether there may be more than was read at once."""
        return len(self.chunks) == CHUNKS_AT_ONCE or LOGS_AT_ONCE in (len(self.attempts), len(self.steps))

    def body(self) -> dict[str, Any]:
        """The data of an event about the status."""
        is_due = not self.has_ended and self.status != TaskStatus.RUNNING
        return {
            "pipeline": self.pipeline,
            "status": self.status,
            "progress": self.progress,
            "progress_note": self.progress_note,
            "current_step": self.current_step,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "next_run_at": self.due_at if is_due else None,
            "error": self.error,
        }


COLUMNS: Final = tuple(each.name for each in fields(State))
"""What `sql.READ_STREAMS` returns after the number of a stream."""


def values_of(streams: Sequence[tuple[UUID, Position]]) -> dict[str, Any]:
    """The parameters of `sql.READ_STREAMS` for these tasks and positions."""
    return {
        "numbers": list(range(len(streams))),
        "tasks": [task for task, _ in streams],
        "chunks": [position.chunk for _, position in streams],
        "attempts": [position.attempt for _, position in streams],
        "steps": [position.step for _, position in streams],
    }


def states_of(rows: Iterable[tuple[Any, ...]]) -> dict[int, State]:
    """The states by the numbers of the streams; none for a task that was deleted."""
    return {number: State(**dict(zip(COLUMNS, columns, strict=True))) for number, *columns in rows}


def read_one(task: UUID, position: Position) -> State:
    """A task, and what is new of it; one query.

    Raises:
        TaskNotFound
    """
    states = states_of(sql.fetch(sql.READ_STREAMS, values_of([(task, position)])))
    if not states:
        raise TaskNotFound(task)
    return states[0]


@dataclass
class Changes:
    """Makes the events, and keeps the position after the last of them."""

    state: State
    position: Position
    events: list[Event] = field(default_factory=list)

    @classmethod
    def since(cls, position: Position, state: State) -> Changes:
        """The events since a position. Those about an end come last, when all else was read."""
        changes = cls(state, position)
        if not state.has_ended:
            changes._add_status()
        changes._add_logs()
        changes._add_chunks()
        if state.has_ended and not state.has_more:
            changes._add_status()
            changes._add("end", state.body(), is_end=True)
        return changes

    @property
    def is_end(self) -> bool:
        return self.position.is_end

    @property
    def is_nothing(self) -> bool:
        """Whether the task has ended, and the caller had seen that."""
        return [event.name for event in self.events] == ["end"]

    def _add(self, name: str, data: dict[str, Any], *, is_secret: bool = False, **seen: Any) -> None:
        self.position = replace(self.position, **{"is_end": False, **seen})
        self.events.append(Event(name, self.position, data, is_secret))

    def _add_status(self) -> None:
        body = self.state.body()
        if (state := digest_of(body)) != self.position.state:
            name = "progress" if body["status"] == self.position.status else "status"
            self._add(name, body, status=body["status"], state=state)

    def _add_chunks(self) -> None:
        for chunk, step, attempt, lease, text, is_secret, is_cut in self.state.chunks:
            data = {"step": step, "attempt": attempt, "execution": lease, "text": text, "is_cut": is_cut}
            self._add("chunk", data, is_secret=is_secret, chunk=chunk)

    def _add_logs(self) -> None:
        for attempt, step, log in self.state.attempts:
            self._add_lines(step, log, is_complete=True)
            self.position = replace(self.position, attempt=attempt)
        for finished, step, log in self.state.steps:
            self._add_lines(step, log, is_complete=True)
            self.position = replace(self.position, step=finished)
        if self.state.report is not None:
            _none, step, log = self.state.report
            self._add_lines(step, log, is_complete=False)

    def _add_lines(self, step: str, log: dict[str, Any], *, is_complete: bool) -> None:
        dropped, lines = log["dropped"], log["lines"]
        entry = self.position.lines_seen(step, dropped, lines)
        for number, line in self._new_lines(entry, dropped, lines):
            before, entry = entry, (number, digest_of([step, line]))
            self.position = self.position.with_open_log(before, entry)
            after_ms, level, logger, text = line
            data = {"step": step, "line": number, "after_ms": after_ms, "level": level, "logger": logger, "text": text}
            self._add("log", data)
        if is_complete:
            self.position = self.position.with_open_log(entry, None)

    @staticmethod
    def _new_lines(entry: tuple[int, str] | None, dropped: int, lines: list[Any]) -> Iterator[tuple[int, Any]]:
        first = entry[0] - dropped if entry else 0
        yield from enumerate(lines[first:], dropped + first + 1)
