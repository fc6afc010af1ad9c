"""What a worker does right now: written by the thread that works, read by the one that beats."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from taskqueue.definitions import StepDefinition
from taskqueue.engine.execution.log_capture import Lines
from taskqueue.engine.runtime.lease import Lease


@dataclass(frozen=True)
class CurrentWork:
    """A moment of a worker's life. Replaced as a whole, so that another thread never sees half of a change."""

    lease: Lease | None = None
    step: str = ""
    definition: StepDefinition | None = None
    failures: int = 0
    asks: bool = False
    """Whether it waits for the answer of a claim that it made with empty hands."""
    since: float = field(default_factory=time.monotonic)

    @property
    def timeout(self) -> timedelta | None:
        """How long the step may take."""
        return self.definition.timeout if self.definition else None


class Slate(Protocol):
    """Where a worker notes what it executes, so that whoever finds its process dead can read it."""

    def write_worker(self, worker: int) -> None:
        """Under which row it works from now on."""
        ...

    def write(self, task: UUID | None, step: str) -> None:
        """What it executes now. At each step, so it costs next to nothing."""
        ...


@dataclass
class Activity:
    """The present moment, the progress that the author's code last reported, and what comes next."""

    doing: CurrentWork = field(default_factory=CurrentWork)
    progress: tuple[Lease, float, str] | None = None
    in_hand: Lease | None = None
    """The task that it executes or settles: its last one, should the process or the database fail now."""
    slate: Slate | None = None
    lost: Lease | None = None
    """A lease in hand that the heart has found gone: its task was cancelled, or is somebody else's."""
    ahead: deque[Lease] = field(default_factory=deque)
    """Claimed and not begun. The worker takes from the left; its heart takes all away when they have to wait."""
    steps: dict[str, CurrentWork] = field(default_factory=dict)
    """The steps that it is inside of, by their keys: an async body may have several under way."""
    lines: dict[str, Lines] = field(default_factory=dict)
    """What these have logged so far."""
    arm: Callable[[timedelta | None], None] = lambda _left: None
    """Told how long the step whose timeout comes first may still take, whenever that changes; None: none has one."""

    def take(self, lease: Lease | None) -> None:
        """The worker has the next task in hand, or none."""
        self.in_hand = lease
        self._note(lease.task if lease else None, "")

    def ask(self) -> None:
        """The worker asks for a task."""
        self.doing = CurrentWork(asks=True)

    def begin_task(self, lease: Lease) -> None:
        """The worker has claimed a task."""
        self.doing = CurrentWork(lease)

    def begin_step(self, step: str, definition: StepDefinition, *, failures: int) -> None:
        """The worker is inside a step of its task, which has failed so often before."""
        self.steps[step] = self.doing = CurrentWork(self.doing.lease, step, definition, failures)
        if self.doing.lease is not None:
            self._note(self.doing.lease.task, step)
        if definition.timeout is not None:
            self._arm()

    def end_step(self, step: str) -> None:
        """The worker has left this step, and is between steps or inside of those that it began beside it."""
        ended = self.steps.pop(step)
        others = list(self.steps.values())
        self.doing = others[-1] if others else CurrentWork(ended.lease)
        if ended.lease is not None:
            self._note(ended.lease.task, self.doing.step)
        if ended.timeout is not None:
            self._arm()

    def rest(self) -> None:
        """The worker holds no task."""
        self.doing = CurrentWork()

    def _note(self, task: UUID | None, step: str) -> None:
        if self.slate is not None:
            self.slate.write(task, step)

    def _arm(self) -> None:
        """Have the earliest timeout watched."""
        now = time.monotonic()
        ends = [each.since + each.timeout.total_seconds() for each in list(self.steps.values()) if each.timeout]
        self.arm(timedelta(seconds=min(ends) - now) if ends else None)
