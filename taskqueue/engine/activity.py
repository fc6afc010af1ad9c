"""What a worker does right now: written by the thread that works, read by the one that beats."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from taskqueue.definitions import StepDefinition
from taskqueue.engine.claims import Lease


@dataclass(frozen=True)
class Doing:
    """A moment of a worker's life. Replaced as a whole, so that another thread never sees half of a change."""

    lease: Lease | None = None
    step: str = ""
    definition: StepDefinition | None = None
    failures: int = 0
    asks: bool = False
    """Whether it waits for the answer of a claim that it made with empty hands."""
    since: float = field(default_factory=time.monotonic)


@dataclass
class Activity:
    """The present moment, the progress that the author's code last reported, and what comes next."""

    doing: Doing = field(default_factory=Doing)
    progress: tuple[Lease, float, str] | None = None
    lost: Lease | None = None
    """A lease in hand that the heart has found gone: its task was cancelled, or is somebody else's."""
    ahead: deque[Lease] = field(default_factory=deque)
    """Claimed and not begun. The worker takes from the left; its heart takes all away when they have to wait."""
    arm: Callable[[timedelta | None], None] = lambda _timeout: None
    """Called in the working thread when a step with a timeout begins, and with None when it has ended."""

    def ask(self) -> None:
        """The worker asks for a task."""
        self.doing = Doing(asks=True)

    def begin_task(self, lease: Lease) -> None:
        """The worker has claimed a task."""
        self.doing = Doing(lease)

    def begin_step(self, step: str, definition: StepDefinition, *, failures: int) -> None:
        """The worker is inside a step of its task, which has failed so often before."""
        self.doing = Doing(self.doing.lease, step, definition, failures)
        if definition.timeout is not None:
            self.arm(definition.timeout)

    def end_step(self) -> None:
        """The worker is between steps."""
        ended, self.doing = self.doing, Doing(self.doing.lease)
        if ended.definition is not None and ended.definition.timeout is not None:
            self.arm(None)

    def rest(self) -> None:
        """The worker holds no task."""
        self.doing = Doing()
