"""Memory that a process shares with the processes forked from it.

multiprocessing's Event and Value have locks. A process that is killed while it holds such a lock blocks all others for
ever. One aligned write needs no lock.
"""

from __future__ import annotations

import functools
import mmap
import operator
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from uuid import UUID

from taskqueue.queues import TakenQueues

POLL_SECONDS = 0.1


class Flag:
    """A flag that is set once; has the methods that django-q2 uses of a multiprocessing Event."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._memory[0] = 1

    def is_set(self) -> bool:
        return self._memory[0] == 1

    def wait(self, timeout: float) -> bool:
        """Wait for the flag for so many seconds. Returns whether it is set."""
        deadline = time.monotonic() + timeout
        while not self.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, POLL_SECONDS))
        return True


@dataclass(frozen=True)
class WorkerState:
    """What a worker executed last: the ids of its worker's row and of its task, the key of the step, its thread, and
    whether it ended the process because its step did not stop, and whether it executed other tasks too.
    """

    worker: int = 0
    task: UUID | None = None
    step: str = ""
    thread: int = 0
    ended_process: bool = False
    has_company: bool = False


class SharedWorkerState:
    """The state of one worker of a worker process, which the parent reads after the process has died.

    The parent reads only when the writer is dead, so it may miss the write during which the writer died.
    """

    STEP = 36
    SIZE = STEP + 4 * 200

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self.SIZE)

    def write_worker(self, worker: int, thread: int) -> None:
        """Write the id of the worker's row, and the ident of its thread; any thread may call it."""
        self._memory[26:34] = thread.to_bytes(8, "little")
        self._memory[0:8] = worker.to_bytes(8, "little")

    def write(self, task: UUID | None, step: str) -> None:
        """Write what the worker executes now. The length comes last: it says that the step before it is complete."""
        memory, text = self._memory, step.encode()[: self.SIZE - self.STEP]
        memory[24:26] = b"\0\0"
        memory[8:24] = bytes(16) if task is None else task.bytes
        memory[self.STEP : self.STEP + len(text)] = text
        memory[24:26] = len(text).to_bytes(2, "little")

    def write_end(self) -> None:
        """Write that this worker ends the process."""
        self._memory[34] = 1

    def write_company(self, *, has_company: bool) -> None:
        """Write whether this worker executes other tasks too."""
        self._memory[35] = has_company

    def clear(self) -> None:
        self._memory[0 : self.STEP] = bytes(self.STEP)

    def read(self) -> WorkerState:
        memory = self._memory
        task, length = memory[8:24], int.from_bytes(memory[24:26], "little")
        step = memory[self.STEP : self.STEP + length].decode(errors="ignore")
        worker, thread = int.from_bytes(memory[0:8], "little"), int.from_bytes(memory[26:34], "little")
        return WorkerState(
            worker, UUID(bytes=task) if any(task) else None, step, thread, memory[34] == 1, memory[35] == 1
        )


class PoolStatus:
    """Which worker processes of a pool are busy and have free threads, when one last changed, and a bell for each.

    A process is busy while any of its threads is. Then it reads no messages of django-q2.
    """

    def __init__(
        self, processes: int, threads: int = 1, async_slots: int = 0, reserved: Mapping[str, int] | None = None
    ) -> None:
        self.processes = processes
        self.threads = threads
        self.async_slots = async_slots
        self.reserved = dict(reserved or {})
        # The last of a process is that of its async worker.
        self.worker_states = [[SharedWorkerState() for _ in range(threads + 1)] for _ in range(processes)]
        # For each process when it became busy, then the time of the last change and of the last failure.
        self._since = memoryview(mmap.mmap(-1, 8 * (processes + 2))).cast("d")
        self._free_threads = memoryview(mmap.mmap(-1, 8 * processes)).cast("q")
        # For each process which of the reserved queues its free threads may claim from, as bits; 0: from all queues.
        self._open_queues = memoryview(mmap.mmap(-1, 8 * processes)).cast("Q")
        self._bells = [Bell() for _ in range(processes)]
        self._rung_at = [0.0] * processes  # known only to the process that rings

    def mark_busy(self, index: int) -> None:
        """Note that this worker process has taken a message."""
        self._since[index] = self._since[self.processes] = time.monotonic()

    def mark_idle(self, index: int) -> None:
        """Note that this worker process waits for the next message."""
        self._free_threads[index] = 0
        self._since[index] = 0.0
        self._since[self.processes] = time.monotonic()

    def mark_free_threads(self, index: int, number: int) -> None:
        """Note how many threads of this busy worker process execute nothing."""
        self._free_threads[index] = number
        self._since[self.processes] = time.monotonic()

    def mark_open_queues(self, index: int, queues: tuple[str, ...] | None) -> None:
        """Note which queues the free threads of this process may claim from; None for all."""
        bits = sum(1 << number for number, queue in enumerate(self.reserved, 1) if queue in (queues or ()))
        self._open_queues[index] = 0 if queues is None else 1 | bits

    def open_queues(self) -> TakenQueues | None:
        """The queues that the free threads of all processes may claim from; None for all, and without a free thread."""
        if self.has_idle_process():
            return None
        found = [self._open_queues[index] for index in range(self.processes) if self._free_threads[index] > 0]
        if not found or not all(found):
            return None
        bits = functools.reduce(operator.or_, found)
        queues = tuple(queue for number, queue in enumerate(self.reserved, 1) if bits >> number & 1)
        return TakenQueues(queues) if queues else None

    def busy_seconds(self, index: int) -> float | None:
        """Return for how many seconds this worker process has been busy, or None when it is idle."""
        since = self._since[index]
        return time.monotonic() - since if since else None

    def has_idle_process(self) -> bool:
        return not all(self._since[index] for index in range(self.processes))

    def has_free_thread(self) -> bool:
        """Whether a process is idle, or a busy one has a free thread."""
        return self.has_idle_process() or any(self._free_threads)

    def bell(self, index: int) -> Bell:
        """What wakes this worker process, and while it is busy a free thread of it."""
        return self._bells[index]

    def ring(self, *, every: bool) -> bool:
        """Wake idle processes and a free thread of each busy one that has one; or only one of them, an idle one first.

        Without `every` a process whose free threads may only claim from some queues does not count.

        Returns:
            Whether there is one.
        """
        idle = [index for index in range(self.processes) if not self._since[index]]
        free = [index for index in range(self.processes) if self._since[index] and self._free_threads[index] > 0]
        if not every:
            # One that was just rung is about to be busy: a second notification at the same moment is for another.
            idle = sorted(idle, key=lambda index: self._rung_at[index])[:1]
            for_all_queues = [index for index in free if not self._open_queues[index]]
            free = [] if idle else sorted(for_all_queues, key=lambda index: self._free_threads[index])[-1:]
        for index in (*idle, *free):
            self._rung_at[index] = time.monotonic()
            self._bells[index].ring()
        return bool(idle or free)

    def mark_unavailable(self) -> None:
        """Note that the notifier could not look for work just now, so that idle workers are no sign of a stuck pool."""
        self._since[self.processes + 1] = time.monotonic()

    def seconds_without_change(self) -> float:
        """Seconds since a thread became busy or idle, or since the notifier last failed: since the later of the two."""
        return time.monotonic() - max(self._since[self.processes], self._since[self.processes + 1])


class Bell:
    """Wakes another process: a pipe, which has no lock that a killed process could keep."""

    def __init__(self) -> None:
        self.reading, self._writing = Pipe(duplex=False)
        for end in (self.reading, self._writing):
            os.set_blocking(end.fileno(), False)

    def ring(self) -> None:
        with suppress(BlockingIOError):  # it is full of rings that were not heard yet
            os.write(self._writing.fileno(), b"!")

    def wait(self, timeout: float) -> bool:
        """Wait for a ring, for so many seconds. Returns whether one came; more of them count as one."""
        return bool(wait([self.reading], timeout)) and self.take()

    def take(self) -> bool:
        """Take the rings that came. Returns whether there was one, and no other thread has taken it."""
        is_rung = False
        with suppress(BlockingIOError):
            while os.read(self.reading.fileno(), 4096):
                is_rung = True
        return is_rung


STOP = Flag()
"""Set when this process and its children are to stop: running steps end, and no new one begins."""
