"""Siblings: the async steps of one execution that are under way beside each other.

A step that has to wait for the time that its rate gave it, or for a free place, waits in the event loop for as long as
a sibling executes: the worker is held anyway. When no sibling executes any more the task is suspended for all of them,
unless the nearest time comes sooner than the task could be claimed and replayed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from taskqueue.engine.execution.rate_limits import BRIEF
from taskqueue.engine.runtime.outcomes import Blocked

RECALL: Final = 0.000_1
"""Seconds that a replay takes for each step that the body has asked for."""


@dataclass
class Waiting:
    """A step that waits for its turn."""

    turn: Blocked
    goes_on: asyncio.Future[bool]


class Siblings:
    """Which steps execute and which ones wait, by their keys.

    Args:
        suspend: told of what a step waited for, when the task is suspended for it.
        replayed: asked how many steps a replay would pass.
    """

    def __init__(self, suspend: Callable[[Blocked], object], replayed: Callable[[], int]) -> None:
        self._suspend = suspend
        self._replayed = replayed
        self._executing: set[str] = set()
        self._waiting: dict[str, Waiting] = {}
        self._ended = asyncio.Event()

    @contextmanager
    def beside(self, key: str) -> Iterator[None]:
        """A step is under way inside of the block: it asks for its turn, waits for it, or executes."""
        self._executing.add(key)
        self._ended.clear()
        try:
            yield
        finally:
            self._end(key)

    async def wait(self, key: str, turn: Blocked) -> bool:
        """Let a step wait for its turn: until its time has come, or for a place until a sibling gives one back.

        Returns:
            Whether it may ask again. If not, the task is suspended.
        """
        loop = asyncio.get_running_loop()
        waiting = self._waiting[key] = Waiting(turn, loop.create_future())
        timer = None
        if turn.comes_at is not None:
            timer = loop.call_later(max(turn.comes_at - time.monotonic(), 0), self._wake, key)
        self._executing.discard(key)
        self._suspend_if_idle()
        try:
            return await waiting.goes_on
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting.get(key) is waiting:  # the body has cancelled it
                self._wake(key)

    async def all_ended(self) -> None:
        """Wait until no step is under way."""
        while self._executing or self._waiting:
            await self._ended.wait()

    def _end(self, key: str) -> None:
        self._executing.discard(key)
        # The step has given back its place, if it held one: the next step that waits for a place may ask.
        for_place = (each for each, waiting in self._waiting.items() if waiting.turn.comes_at is None)
        if (next_one := next(for_place, None)) is not None:
            self._wake(next_one)
        self._suspend_if_idle()
        if not self._executing and not self._waiting:
            self._ended.set()

    def _wake(self, key: str, *, goes_on: bool = True) -> None:
        """Let a waiting step go on: it counts as executing from now on, not only when the loop comes to it."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._executing.add(key)
            if not waiting.goes_on.done():
                waiting.goes_on.set_result(goes_on)

    def _suspend_if_idle(self) -> None:
        """Suspend the task if its steps do nothing but wait, for longer than a replay would take."""
        if self._executing or not self._waiting:
            return
        times = [each.turn.comes_at for each in self._waiting.values() if each.turn.comes_at is not None]
        patience = BRIEF.total_seconds() + self._replayed() * RECALL
        if times and min(times) - time.monotonic() <= patience:
            return
        # For all of them before the first is unwound: a task group would cancel the others.
        for each in self._waiting.values():
            self._suspend(each.turn)
        for key in list(self._waiting):
            self._wake(key, goes_on=False)
