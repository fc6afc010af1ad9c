"""When a failed step is retried."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from taskqueue.durations import Duration, duration_of

JITTER = 0.1
"""A wait varies by up to this share of itself, so that tasks that failed together are not retried together."""

MAX_RETRY_WAIT = timedelta(days=3650)
MAX_RETRIES = 10_000


@dataclass(frozen=True)
class Retry:
    """When a failed step is retried.

    Attributes:
        waits: how long to wait after the first failed attempt, the second, and so on. When they are used up, the step
            has failed. The default spreads five retries over 24 hours.
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
        object.__setattr__(self, "waits", tuple(duration_of(wait, "The wait of a retry") for wait in self.waits))
        if len(self.waits) > MAX_RETRIES:
            raise ValueError(f"There are at most {MAX_RETRIES:,} retries.")
        if any(wait < timedelta(0) for wait in self.waits):
            raise ValueError("A retry cannot wait for a negative time.")
        if any(wait > MAX_RETRY_WAIT for wait in self.waits):
            raise ValueError(f"A retry waits for at most {MAX_RETRY_WAIT.days:,} days.")
        _check_classes(self.give_up_on)

    @classmethod
    def never(cls) -> Self:
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
        """Wait `first`, then each time `factor` times as long, up to `longest`."""
        if not 0 <= retries <= MAX_RETRIES:
            raise ValueError(f"retries is a number from 0 to {MAX_RETRIES:,}.")
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
        return cls.exponential(first=wait, retries=retries, factor=1.0, longest=wait, give_up_on=give_up_on)

    @property
    def retries(self) -> int:
        """How many attempts may follow the first one."""
        return len(self.waits)

    def wait_after(self, failures: int, *, jitter: float) -> timedelta | None:
        """Return how long to wait after this many failed attempts (1 or more); None when the retries are used up.

        Args:
            failures: failed attempts so far, this one included.
            jitter: a number from 0 to 1: the shortest to the longest wait.
        """
        if failures > len(self.waits):
            return None
        return self.waits[failures - 1] * (1 + JITTER * (2 * jitter - 1))

    def applies_to(self, error: BaseException) -> bool:
        """Whether this error may be retried."""
        return not isinstance(error, self.give_up_on)


def _check_classes(kinds: tuple[object, ...]) -> None:
    """Refuse anything but exception classes: isinstance() would fail only at the first error."""
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ValueError("give_up_on takes exception classes.")
