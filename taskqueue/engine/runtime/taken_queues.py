"""The queues that this process takes tasks of, as parameters for the statements that claim and count tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from taskqueue.conf import settings
from taskqueue.engine.runtime.deployed_pipelines import to_array
from taskqueue.queues import TakenQueues

_of_command: TakenQueues | None = None
_of_block: ContextVar[TakenQueues | None] = ContextVar("queues", default=None)


def taken_queues() -> TakenQueues:
    """The queues of this process: those of its command, else those of the settings."""
    chosen = _of_block.get() or _of_command
    if chosen is not None:
        return chosen
    return of_settings(settings().QUEUES, settings().NOT_QUEUES, is_strict=settings().STRICT_QUEUES)


@cache
def of_settings(names: str, excluded: str, *, is_strict: bool) -> TakenQueues:
    return TakenQueues.of(names, excluded, is_strict=is_strict and bool(names.strip()))


def take_queues(queues: TakenQueues | None) -> None:
    """Set the queues of this process and of those that it forks; None for those of the settings."""
    global _of_command
    _of_command = queues


@contextmanager
def taking(queues: TakenQueues) -> Iterator[None]:
    """Take these queues in a block of code."""
    token = _of_block.set(queues)
    try:
        yield
    finally:
        _of_block.reset(token)


def queue_parameters(queues: TakenQueues | None = None) -> dict[str, Any]:
    """Parameters about these queues, or those of the process.

    `queues`; `queues_excluded`: whether all queues but these are taken; `strict_queues`: those that are taken in order.
    """
    return parameters_of(queues or taken_queues())


@cache
def parameters_of(queues: TakenQueues) -> dict[str, Any]:
    return {
        "queues": to_array(queues.names or queues.excluded),
        "queues_excluded": not queues.names,
        "strict_queues": to_array(queues.names if queues.is_strict else ()),
    }
