"""Memory that a process shares with the processes forked from it.

multiprocessing's Event and Value have locks. A process that is killed while it holds such a lock blocks all others for
ever. One aligned write needs no lock.
"""

from __future__ import annotations

import mmap
import time
from dataclasses import dataclass
from uuid import UUID

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
    """What a worker process executed last: the ids of its row and of its task, and the key of the step."""

    worker: int = 0
    task: UUID | None = None
    step: str = ""


class SharedWorkerState:
    """The state of a worker process, which its parent reads after the process has died.

    The parent reads only when the writer is dead, so it may miss the write during which the writer died.
    """

    STEP = 26
    SIZE = STEP + 4 * 200

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self.SIZE)

    def write_worker(self, worker: int) -> None:
        self._memory[0:8] = worker.to_bytes(8, "little")

    def write(self, task: UUID | None, step: str) -> None:
        """Write what the worker executes now. The length comes last: it says that the step before it is complete."""
        memory, text = self._memory, step.encode()[: self.SIZE - self.STEP]
        memory[24:26] = b"\0\0"
        memory[8:24] = bytes(16) if task is None else task.bytes
        memory[self.STEP : self.STEP + len(text)] = text
        memory[24:26] = len(text).to_bytes(2, "little")

    def clear(self) -> None:
        self._memory[0 : self.STEP] = bytes(self.STEP)

    def read(self) -> WorkerState:
        memory = self._memory
        task, length = memory[8:24], int.from_bytes(memory[24:26], "little")
        step = memory[self.STEP : self.STEP + length].decode(errors="ignore")
        return WorkerState(int.from_bytes(memory[0:8], "little"), UUID(bytes=task) if any(task) else None, step)


class PoolStatus:
    """Which worker processes of a pool are busy, when one last changed, and when the notifier last failed."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.worker_states = [SharedWorkerState() for _ in range(processes)]
        # For each process when it became busy, then the time of the last change and of the last failure.
        self._since = memoryview(mmap.mmap(-1, 8 * (processes + 2))).cast("d")

    def mark_busy(self, index: int) -> None:
        """Note that this worker process has taken a message."""
        self._since[index] = self._since[self.processes] = time.monotonic()

    def mark_idle(self, index: int) -> None:
        """Note that this worker process waits for the next message."""
        self._since[index] = 0.0
        self._since[self.processes] = time.monotonic()

    def busy_seconds(self, index: int) -> float | None:
        """Return for how many seconds this worker process has been busy, or None when it is idle."""
        since = self._since[index]
        return time.monotonic() - since if since else None

    def all_busy(self) -> bool:
        return all(self._since[index] for index in range(self.processes))

    def mark_unavailable(self) -> None:
        """Note that the notifier could not look for work just now, so that idle workers are no sign of a stuck pool."""
        self._since[self.processes + 1] = time.monotonic()

    def seconds_without_change(self) -> float:
        """Seconds since a worker became busy or idle, or since the notifier last failed: since the later of the two."""
        return time.monotonic() - max(self._since[self.processes], self._since[self.processes + 1])


STOP = Flag()
"""Set when this process and its children are to stop: running steps end, and no new one begins."""
