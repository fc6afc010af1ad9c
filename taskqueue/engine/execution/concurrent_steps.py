"""The steps that one async body runs concurrently, and the ones among them that are blocked.

A step that is blocked by a rate limit or a step limit waits in the event loop for as long as another step executes: the
worker is occupied anyway. When every step is blocked, the task suspends with the reasons of all of them, unless the
nearest time comes sooner than the task could be claimed and replayed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from taskqueue.engine.execution.rate_limits import SHORT_WAIT
from taskqueue.engine.runtime.outcomes import Blocked

REPLAY_SECONDS: Final = 0.000_1
"""How long a replay takes for each step that the body has requested."""


@dataclass
class BlockedStep:
    reason: Blocked
    may_continue: asyncio.Future[bool]


class ConcurrentSteps:
    """Which steps execute and which are blocked, by their keys.

    Args:
        suspend: called with each blocked step's reason when the task suspends.
        replayed_steps: how many steps a replay would pass.
    """

    def __init__(self, suspend: Callable[[Blocked], object], *, replayed_steps: Callable[[], int]) -> None:
        self._suspend = suspend
        self._replayed_steps = replayed_steps
        self._executing: set[str] = set()
        self._blocked: dict[str, BlockedStep] = {}
        self._idle = asyncio.Event()

    @contextmanager
    def running(self, key: str) -> Iterator[None]:
        """A step runs inside this block, from its request for admission to its record."""
        self._executing.add(key)
        self._idle.clear()
        try:
            yield
        finally:
            self._end(key)

    async def wait(self, key: str, reason: Blocked) -> bool:
        """Let a blocked step wait: for its reserved time, or for a slot until another step releases one.

        Returns:
            Whether it may request admission again. If not, the task is suspended.
        """
        loop = asyncio.get_running_loop()
        blocked = self._blocked[key] = BlockedStep(reason, loop.create_future())
        timer = None
        if reason.due_at is not None:
            timer = loop.call_later(max(reason.due_at - time.monotonic(), 0), self._unblock, key)
        self._executing.discard(key)
        self._suspend_if_all_blocked()
        try:
            return await blocked.may_continue
        finally:
            if timer is not None:
                timer.cancel()
            if self._blocked.get(key) is blocked:  # the body has cancelled it
                self._unblock(key)

    async def all_finished(self) -> None:
        """Wait until no step executes or is blocked."""
        while self._executing or self._blocked:
            await self._idle.wait()

    def _end(self, key: str) -> None:
        self._executing.discard(key)
        # The step has released its slot, if it held one: the next step that waits for a slot may request it.
        waiting_for_slot = (each for each, blocked in self._blocked.items() if blocked.reason.due_at is None)
        if (next_key := next(waiting_for_slot, None)) is not None:
            self._unblock(next_key)
        self._suspend_if_all_blocked()
        if not self._executing and not self._blocked:
            self._idle.set()

    def _unblock(self, key: str, *, may_continue: bool = True) -> None:
        """Let a blocked step continue. It counts as executing from now on, and not only when the loop runs it."""
        blocked = self._blocked.pop(key, None)
        if blocked is not None:
            self._executing.add(key)
            if not blocked.may_continue.done():
                blocked.may_continue.set_result(may_continue)

    def _suspend_if_all_blocked(self) -> None:
        if self._executing or not self._blocked:
            return
        times = [each.reason.due_at for each in self._blocked.values() if each.reason.due_at is not None]
        replay_seconds = SHORT_WAIT.total_seconds() + self._replayed_steps() * REPLAY_SECONDS
        if times and min(times) - time.monotonic() <= replay_seconds:
            return
        # With all reasons before the first step unwinds: a task group would cancel the other steps.
        for each in self._blocked.values():
            self._suspend(each.reason)
        for key in list(self._blocked):
            self._unblock(key, may_continue=False)
