"""What a worker does now: written by its working thread, read by its heartbeat."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol, TypeVar
from uuid import UUID

from taskqueue.definitions import StepDefinition
from taskqueue.engine.author_code.chunks import ChunkBuffer
from taskqueue.engine.author_code.log_capture import LogLines
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.runtime.stacks import author_stack

T = TypeVar("T")


@dataclass(frozen=True)
class CurrentWork:
    """The task and the step that a worker executes. Replaced as a whole: another thread never sees half of a change."""

    lease: Lease | None = None
    step: str = ""
    definition: StepDefinition | None = None
    failures: int = 0
    is_claiming: bool = False
    """Whether the worker, which has no task, waits for the answer of a claim."""
    since: float = field(default_factory=time.monotonic)

    @property
    def timeout(self) -> timedelta | None:
        return self.definition.timeout if self.definition else None

    @property
    def is_async(self) -> bool:
        return self.definition is not None and self.definition.is_async


class StepRecord(Protocol):
    """Where an execution notes its step, readable after its process has died."""

    def write(self, task: UUID | None, step: str) -> None:
        """Note the task and its step. Called at each step, so it must cost next to nothing."""


class CrashRecord(StepRecord, Protocol):
    """Where a worker notes what it executes, readable after its process has died."""

    def write_worker(self, worker: int, thread: int) -> None:
        """Note the worker's row, and the ident of the thread that executes."""

    def write_company(self, *, has_company: bool) -> None:
        """Note whether this worker executes other tasks too."""

    def write_end(self) -> None:
        """Note that this worker ends the process, because its step does not stop."""


@dataclass
class Activity:
    """What a worker executes, the progress that author code last reported, and the tasks it has claimed ahead."""

    thread: int = field(default_factory=threading.get_ident)
    """The ident of the thread that executes, which is the one that makes this."""
    read_stack: Callable[[], str] | None = None
    """Where the author's code stands, for code that has no thread of its own."""
    current: CurrentWork = field(default_factory=CurrentWork)
    progress: tuple[Lease, float, str] | None = None
    unsettled_lease: Lease | None = None
    """Of the task that is being executed or settled: the one to blame if the process or the database fails now."""
    step_record: StepRecord | None = None
    lost_lease: Lease | None = None
    """A lease that the heartbeat has found gone: its task was cancelled, or another worker has it."""
    prefetched: deque[Lease] = field(default_factory=deque)
    """Claimed and not begun. The worker takes from the left; the heartbeat removes all when they have to wait."""
    held_ends: deque[tuple[Lease, Succeeded]] = field(default_factory=deque)
    """Of tasks of idempotent pipelines, to be written together. The heartbeat writes them when they have to wait."""
    steps: dict[str, CurrentWork] = field(default_factory=dict)
    """The running steps by their keys: an async body may run several."""
    lines: dict[str, LogLines] = field(default_factory=dict)
    """What they have logged so far."""
    chunks: ChunkBuffer = field(default_factory=ChunkBuffer)
    """What they have written for the task's callers."""
    excused: float = 0.0
    """For how many seconds the code of another task has kept the running steps from ending."""
    set_hard_timeout: Callable[[timedelta | None], None] = lambda _left: None
    """Called when the earliest timeout of the running steps changes, with the time left; None: no step has one."""

    def stack(self, work: CurrentWork) -> str:
        """Where the author's code stands now. Called from any thread."""
        if self.read_stack is not None:
            return self.read_stack()
        return author_stack(self.thread, with_event_loop=work.is_async)

    def set_unsettled(self, lease: Lease | None) -> None:
        """Note the next task, or that the last one is settled."""
        self.unsettled_lease = lease
        self._record(lease.task if lease else None, "")

    def begin_claim(self) -> None:
        self.current = CurrentWork(is_claiming=True)

    def begin_task(self, lease: Lease) -> None:
        self.current = CurrentWork(lease)

    def begin_step(self, step: str, definition: StepDefinition, *, failures: int) -> None:
        """Note a step that starts, and how often it has failed before."""
        if not self.steps:
            self.excused = 0.0
        self.steps[step] = self.current = CurrentWork(self.current.lease, step, definition, failures)
        if self.current.lease is not None:
            self._record(self.current.lease.task, step)
        if definition.timeout is not None:
            self._update_hard_timeout()

    def end_step(self, step: str) -> None:
        """Note that a step is over; of several running ones the last becomes the current one."""
        ended = self.steps.pop(step)
        others = list(self.steps.values())
        self.current = others[-1] if others else CurrentWork(ended.lease)
        if ended.lease is not None:
            self._record(ended.lease.task, self.current.step)
        if ended.timeout is not None:
            self._update_hard_timeout()

    def excuse(self, seconds: float) -> None:
        """Postpone the hard timeouts of the running steps: the code of another task has kept them from ending."""
        self.excused += seconds
        if any(each.timeout for each in list(self.steps.values())):
            self._update_hard_timeout()

    def note_return(self, step: str) -> None:
        """Note that the author's code of a step has returned: what is left to do cannot pass its timeout."""
        returned = replace(self.steps[step], definition=None)
        if self.current is self.steps[step]:
            self.current = returned
        had_timeout, self.steps[step] = self.steps[step].timeout is not None, returned
        if had_timeout:
            self._update_hard_timeout()

    def set_idle(self) -> None:
        self.current = CurrentWork()

    def _record(self, task: UUID | None, step: str) -> None:
        if self.step_record is not None:
            self.step_record.write(task, step)

    def _update_hard_timeout(self) -> None:
        now = time.monotonic()
        ends = [each.since + each.timeout.total_seconds() for each in list(self.steps.values()) if each.timeout]
        self.set_hard_timeout(timedelta(seconds=min(ends) - now + self.excused) if ends else None)


def take_all(waiting: deque[T]) -> list[T]:
    """Take what a deque holds, in its order. If the heartbeat and the worker do so at once, each gets other entries."""
    taken: list[T] = []
    while waiting:
        try:
            taken.append(waiting.pop())
        except IndexError:  # the other one took the last entry just now
            break
    return taken[::-1]
