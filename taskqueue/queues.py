"""Queues: a pipeline is in one, and a worker takes all of them, some, or all but some."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DEFAULT_QUEUE: Final = "default"
"""The queue of a pipeline that names none."""

QUEUE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
QUEUE_NAME_MAX: Final = 100
QUEUE_NAME_RULE: Final = f"Use up to {QUEUE_NAME_MAX} small letters, digits, dots, hyphens and underscores."


def is_queue_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= QUEUE_NAME_MAX and QUEUE_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class TakenQueues:
    """The queues that a worker takes: by default all, also those that come later.

    Attributes:
        names: only these; empty for all.
        excluded: all but these; empty if `names` is not.
        is_strict: whether all tasks of a queue come before those of the queues named after it.
    """

    names: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    is_strict: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError: strict order without names."""
        if self.is_strict and not self.names:
            raise ValueError("Strict order needs the names of the queues that the worker takes, the most urgent first.")

    @classmethod
    def of(cls, names: str, excluded: str, *, is_strict: bool = False) -> TakenQueues:
        """From names with commas between them.

        Raises:
            ValueError: a name is not valid, both have names, or the order is strict and `names` is empty.
        """
        if names.strip() and excluded.strip():
            raise ValueError("Name either the queues that a worker takes or those that it does not take, not both.")
        return cls(queue_names(names), queue_names(excluded), is_strict)

    def only(self, names: Iterable[str]) -> TakenQueues:
        """Of these queues only the named ones, at least one, in the same order."""
        named = tuple(names)
        in_order = tuple(name for name in self.names if name in named) if self.names else named
        return TakenQueues(in_order, is_strict=self.is_strict)

    @property
    def takes_all(self) -> bool:
        return not self.names and not self.excluded

    def takes(self, queue: str) -> bool:
        return queue in self.names if self.names else queue not in self.excluded

    def __str__(self) -> str:
        if self.takes_all:
            return "all queues"
        if self.excluded:
            return f"all but {', '.join(self.excluded)}"
        return f"{', '.join(self.names)}{' in strict order' if self.is_strict else ''}"


def queue_names(text: str) -> tuple[str, ...]:
    """Names with commas between them, each once.

    Raises:
        ValueError: one is not valid.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text.strip() else ()
    for name in names:
        if not is_queue_name(name):
            raise ValueError(f"A queue cannot be called {name!r}. {QUEUE_NAME_RULE}")
    return names


MOST_RESERVED: Final = 60
"""Queues that may have reserved slots."""


def reserved_slots(text: str) -> dict[str, int]:
    """The number of slots reserved for each queue, from a text such as "urgent=1,mail=2"; empty for "".

    Raises:
        ValueError: an entry is not valid.
    """
    slots: dict[str, int] = {}
    for entry in text.split(",") if text.strip() else ():
        name, equals, number = (part.strip() for part in entry.partition("="))
        if not equals:
            raise ValueError(f"{entry.strip()!r} is not QUEUE=N, such as urgent=1.")
        if not is_queue_name(name):
            raise ValueError(f"A queue cannot be called {name!r}. {QUEUE_NAME_RULE}")
        if name in slots:
            raise ValueError(f"Queue {name} is named twice.")
        if not (number.isascii() and number.isdigit() and int(number) > 0):
            raise ValueError(f"The number of slots for queue {name} must be at least 1, not {number!r}.")
        slots[name] = int(number)
    if len(slots) > MOST_RESERVED:
        raise ValueError(f"At most {MOST_RESERVED} queues can have reserved slots, not {len(slots)}.")
    return slots
