"""What a worker does right now: written by the thread that works, read by the one that beats."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from taskqueue.engine.claims import Lease


@dataclass(frozen=True)
class Doing:
    """A moment of a worker's life. Replaced as a whole, so that another thread never sees half of a change."""

    lease: Lease | None = None
    step: str = ""
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

    def begin_task(self, lease: Lease) -> None:
        """The worker has claimed a task."""
        self.doing = Doing(lease)

    def begin_step(self, step: str) -> None:
        """The worker is inside a step of its task; an empty key: between steps."""
        self.doing = Doing(self.doing.lease, step)

    def rest(self) -> None:
        """The worker holds no task."""
        self.doing = Doing()
