"""What steps write with `current_task().write()`: kept in memory for a moment, and added to the database in batches.

The heartbeat adds it while a step runs, on its own connection, also while the step's transaction is open. What is left
at the step's end is added by the worker, before the end is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

from taskqueue.conf import settings
from taskqueue.definitions import StepDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.runtime.lease import Lease
from taskqueue.errors import InvalidContext
from taskqueue.json_values import codec

FLUSH_INTERVAL: Final = 0.1
"""Seconds between two batches of a process while its steps write."""

Run = Callable[[LiteralString, Mapping[str, Any]], list[tuple[Any, ...]]]
"""Runs a statement and returns its rows."""


@dataclass
class WrittenText:
    """What an attempt of a step has written since the last batch.

    Attributes:
        lease: of the task that executes the step.
        target: the task that callers follow; of a parallel step the parent.
        is_secret: whether the task or the step was given secrets.
    """

    lease: Lease
    target: UUID
    step: str
    attempt: int
    is_secret: bool
    text: str


def written_text(
    text: str, lease: Lease, step: str, definition: StepDefinition | None, *, target: UUID, attempt: int
) -> WrittenText:
    """What the code of a step passes to `write()`.

    Raises:
        InvalidContext: it was called outside of a step.
        TypeError: it is not a text.
    """
    if not step:
        raise InvalidContext("write() is for steps: the body runs again after each wait, and would write again.")
    if not isinstance(text, str):
        raise TypeError(f"write() takes a text, not {type(text).__name__}: convert it, for example with json.dumps().")
    return WrittenText(lease, target, step, attempt, may_repeat_secrets(lease, definition), codec.printable(text))


def may_repeat_secrets(lease: Lease, step: StepDefinition | None) -> bool:
    """Whether a text of a step may have secrets in it, because its task or the step was given some."""
    body = registry.get(lease.pipeline).body_for(lease.version)
    return body.payload.has_secrets or step is None or step.arguments.has_secrets or step.result.has_secrets


class ChunkBuffer:
    """What the steps of one execution have written, and which is not in the database yet."""

    def __init__(self) -> None:
        self.flushing = threading.Lock()
        """Held while a batch is added, so that the batches keep their order."""
        self._guard = threading.Lock()  # for moments only: the event loop takes it
        self._written: list[WrittenText] = []

    def __bool__(self) -> bool:
        """Whether anything is to be added."""
        return bool(self._written)

    def write(self, written: WrittenText) -> None:
        """Keep a text for the next batch. Called from any thread. Far beyond the task's limit it is dropped."""
        with self._guard:
            last = self._written[-1] if self._written else None
            if last is None or (last.lease, last.step, last.attempt) != (written.lease, written.step, written.attempt):
                self._written.append(written)
            elif len(last.text) <= settings().TASK_CHUNKS_MAX_BYTES:
                last.text += written.text

    def take(self) -> list[WrittenText]:
        with self._guard:
            taken, self._written = self._written, []
            return taken

    def put_back(self, taken: list[WrittenText]) -> None:
        with self._guard:
            self._written[:0] = taken

    def flush(self, run: Run) -> None:
        """Add everything. What another worker's lease forbids is dropped. Raises what `run` raises."""
        if self._written or self.flushing.locked():
            with self.flushing:
                flush_held([self], run, sql.APPEND_CHUNKS)


def flush_unless_busy(buffers: Iterable[ChunkBuffer], run: Run) -> None:
    """Add what is in several buffers, in one statement, without waiting for a lock. Raises what `run` raises."""
    with ExitStack() as stack:
        free = [each for each in buffers if each and each.flushing.acquire(blocking=False)]
        for each in free:
            stack.callback(each.flushing.release)
        flush_held(free, run, sql.APPEND_CHUNKS_UNLESS_LOCKED)


def flush_held(buffers: list[ChunkBuffer], run: Run, statement: LiteralString) -> None:
    taken = [(buffer, written) for buffer in buffers for written in buffer.take()]
    if not taken:
        return
    left = list(range(len(taken)))
    try:
        rows = run(statement, chunk_values([written for _, written in taken]))
        left = [number - 1 for (number,) in rows]
    finally:
        for buffer in buffers:
            buffer.put_back([taken[index][1] for index in left if taken[index][0] is buffer])


def chunk_values(written: list[WrittenText]) -> dict[str, Any]:
    return {
        "tasks": [each.lease.task for each in written],
        "workers": [each.lease.worker for each in written],
        "leases": [each.lease.number for each in written],
        "targets": [each.target for each in written],
        "steps": [each.step for each in written],
        "attempts": [each.attempt for each in written],
        "texts": [each.text for each in written],
        "are_secret": [each.is_secret for each in written],
        "limit": settings().TASK_CHUNKS_MAX_BYTES,
    }
