"""Memory that a process shares with the ones forked from it.

multiprocessing's Event and Value have locks, and a process killed while it holds one locks out all the others for
ever. A single aligned write needs no lock, so no death can do harm here.
"""

from __future__ import annotations

import mmap
import time
from dataclasses import dataclass
from uuid import UUID

LOOK_EVERY = 0.1


class Flag:
    """Raised once, seen by all; does what django-q2 asks of a multiprocessing Event."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Raise the flag."""
        self._memory[0] = 1

    def is_set(self) -> bool:
        """Whether anyone has raised it."""
        return self._memory[0] == 1

    def wait(self, timeout: float) -> bool:
        """Wait for the flag for so many seconds; whether it is raised."""
        deadline = time.monotonic() + timeout
        while not self.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, LOOK_EVERY))
        return True


@dataclass(frozen=True)
class Note:
    """The last that a worker process has said of itself."""

    worker: int = 0
    task: UUID | None = None
    step: str = ""


class SharedSlate:
    """A worker's slate in memory that its parent shares, and can read when the process is dead.

    Nobody reads while it is written: the writer has died by then. What it was just about to say may be missing.
    """

    STEP = 26
    SIZE = STEP + 4 * 200

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self.SIZE)

    def write_worker(self, worker: int) -> None:
        """Under which row the process works."""
        self._memory[0:8] = worker.to_bytes(8, "little")

    def write(self, task: UUID | None, step: str) -> None:
        """What it executes now. The flag and the length come last: they say that what lies behind them is whole."""
        memory, text = self._memory, step.encode()[: self.SIZE - self.STEP]
        memory[24:26] = b"\0\0"
        if task is not None:
            memory[8:24] = task.bytes
        else:
            memory[8:24] = bytes(16)
        memory[self.STEP : self.STEP + len(text)] = text
        memory[24:26] = len(text).to_bytes(2, "little")

    def wipe(self) -> None:
        """For the next process."""
        self._memory[0 : self.STEP] = bytes(self.STEP)

    def read(self) -> Note:
        """The last note."""
        memory = self._memory
        task, length = memory[8:24], int.from_bytes(memory[24:26], "little")
        step = memory[self.STEP : self.STEP + length].decode(errors="ignore")
        return Note(int.from_bytes(memory[0:8], "little"), UUID(bytes=task) if any(task) else None, step)


class Board:
    """Which workers of a pool are busy, when one of them last stirred, and when the doorbell was last in trouble."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.slates = [SharedSlate() for _ in range(slots)]
        self._since = memoryview(mmap.mmap(-1, 8 * (slots + 2))).cast("d")

    def begin(self, slot: int) -> None:
        """The worker in this slot takes a message in hand."""
        self._since[slot] = self._since[self.slots] = time.monotonic()

    def end(self, slot: int) -> None:
        """It is done with it, and back at the queue."""
        self._since[slot] = 0.0
        self._since[self.slots] = time.monotonic()

    def busy_for(self, slot: int) -> float | None:
        """For how many seconds it has been at its message; None when it waits for one."""
        since = self._since[slot]
        return time.monotonic() - since if since else None

    def excuse(self) -> None:
        """The doorbell could not look for work just now, so that waiting workers are not to blame."""
        self._since[self.slots + 1] = time.monotonic()

    def excused_for(self) -> float:
        """For how many seconds the doorbell has been able to look."""
        return time.monotonic() - self._since[self.slots + 1]

    def everyone_is_busy(self) -> bool:
        """Whether no worker is waiting for a message."""
        return all(self._since[slot] for slot in range(self.slots))

    def quiet_for(self) -> float:
        """For how many seconds no worker has begun or ended anything."""
        return time.monotonic() - self._since[self.slots]


STOP = Flag()
"""Raised when this process and its children are to stop: running steps end, nothing new begins."""
