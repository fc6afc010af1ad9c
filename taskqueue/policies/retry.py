"""When a failed step is tried again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from taskqueue.durations import Duration, duration_of

JITTER = 0.1
"""A wait is moved by up to this share of itself, so that tasks which failed together do not come back together."""

LONGEST_WAIT = timedelta(days=3650)
MOST_RETRIES = 10_000


@dataclass(frozen=True)
class Retry:
    """When a failed step is tried again.

    Attributes:
        waits: how long to wait after the first failed try, the second, and so on. When they are used up the step has
            failed. The default spreads five retries over 24 hours.
        give_up_on: exception classes that are never retried.
    """

    waits: tuple[timedelta, ...] = (
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=6),
        timedelta(hours=15, minutes=25),
    )
    give_up_on: tuple[type[BaseException], ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self, waits: tuple[Duration, ...] = ..., give_up_on: tuple[type[BaseException], ...] = ()
        ) -> None: ...

    def __post_init__(self) -> None:
        """Refuse what can never be right, where it is written."""
        object.__setattr__(self, "waits", tuple(duration_of(wait, "The wait of a retry") for wait in self.waits))
        if len(self.waits) > MOST_RETRIES:
            raise ValueError(f"There are at most {MOST_RETRIES:,} retries.")
        if any(wait < timedelta(0) for wait in self.waits):
            raise ValueError("A retry cannot wait for a negative time.")
        if any(wait > LONGEST_WAIT for wait in self.waits):
            raise ValueError(f"A retry waits for at most {LONGEST_WAIT.days:,} days.")
        _check_classes(self.give_up_on)

    @classmethod
    def never(cls) -> Self:
        """A failed try is final."""
        return cls(waits=())

    @classmethod
    def exponential(
        cls,
        *,
        first: Duration,
        retries: int,
        factor: float = 2.0,
        longest: Duration = timedelta(hours=24),
        give_up_on: tuple[type[BaseException], ...] = (),
    ) -> Self:
        """Wait `first`, then `factor` times as long each time, never longer than `longest`."""
        if not 0 <= retries <= MOST_RETRIES:
            raise ValueError(f"retries is a number from 0 to {MOST_RETRIES:,}.")
        if not 1 <= factor < math.inf:
            raise ValueError("factor must be 1 or more.")
        waits: list[Duration] = []
        longest = duration_of(longest, "longest")
        wait = min(duration_of(first, "The wait of a retry"), longest)
        for _ in range(retries):
            waits.append(wait)
            # Compared by division, because the product may be longer than any timedelta.
            wait = longest if wait > longest / factor else wait * factor
        return cls(waits=tuple(waits), give_up_on=give_up_on)

    @classmethod
    def fixed(cls, wait: Duration, *, retries: int, give_up_on: tuple[type[BaseException], ...] = ()) -> Self:
        """Wait equally long each time."""
        return cls.exponential(first=wait, retries=retries, factor=1.0, longest=wait, give_up_on=give_up_on)

    @property
    def retries(self) -> int:
        """How many tries may follow the first one."""
        return len(self.waits)

    def wait_after(self, failures: int, *, luck: float) -> timedelta | None:
        """How long to wait after this many failed tries (1 or more); None when the retries are used up.

        Args:
            failures: failed tries so far, this one included.
            luck: a number from 0 to 1 that places the wait within its jitter.
        """
        if failures > len(self.waits):
            return None
        return self.waits[failures - 1] * (1 + JITTER * (2 * luck - 1))

    def covers(self, error: BaseException) -> bool:
        """Whether trying again after this error may help."""
        return not isinstance(error, self.give_up_on)


def _check_classes(kinds: tuple[object, ...]) -> None:
    """Refuse anything but exception classes, which would fail only when the first error is judged."""
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ValueError("give_up_on takes exception classes.")
