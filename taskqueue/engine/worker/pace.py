"""How many tasks a worker claims at once, and whether another thread of its process could execute them too."""

from __future__ import annotations

from collections.abc import Callable

MOST_PREFETCHED = 20
"""Tasks that a worker claims at once when its tasks are short: one commit for all of them."""

SHORT = 0.01
"""Seconds. After a longer task the worker claims one task at a time."""

TINY = 0.002
"""Seconds. Threads that execute such tasks at once mostly wait for each other."""

TINY_IN_A_ROW = 3
"""After so many tiny tasks the worker asks whether it claims more."""


class Pace:
    """How short the last tasks were.

    Attributes:
        most: how many tasks the worker claims at once.
        is_short: whether the last one was executed, and short.
    """

    def __init__(self) -> None:
        self.most, self.is_short = 1, False
        self._tiny_in_a_row = 0

    def note(self, seconds: float | None) -> None:
        """Note how long a task took; None for one that was released."""
        self.is_short = seconds is not None and seconds < SHORT
        self.most = min(self.most * 2, MOST_PREFETCHED) if self.is_short else 1
        self._tiny_in_a_row = self._tiny_in_a_row + 1 if seconds is not None and seconds < TINY else 0

    def goes_on(self, is_needed: Callable[[], bool]) -> bool:
        """Whether the worker claims more tasks; after some tiny ones in a row only if it is needed."""
        return self._tiny_in_a_row < TINY_IN_A_ROW or is_needed()
