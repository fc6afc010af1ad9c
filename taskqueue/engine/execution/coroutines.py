"""Coroutines of authors: run so that what they leave behind or cancel stays theirs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 1.0
"""Seconds that a task which a body or a step has left in its event loop gets to end, once it is cancelled."""

logger = logging.getLogger("taskqueue.workers")


async def alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await an author's coroutine in an asyncio task of its own.

    So it can be told whether the step was cancelled from outside, or has cancelled itself. An event loop lets
    SystemExit and KeyboardInterrupt out of a task only by ending, so an error comes out as a value.
    """
    ended = await asyncio.create_task(caught(coroutine))
    if isinstance(ended, Raised):
        raise ended.error
    return ended


class Raised:
    """What a coroutine has raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def caught(coroutine: Coroutine[Any, Any, T]) -> T | Raised:
    """The result of a coroutine, or what it raised."""
    try:
        return await coroutine
    except BaseException as error:  # noqa: BLE001 - judged where it is awaited
        return Raised(error)


def is_cancelled_from_outside(error: BaseException) -> bool:
    """Whether a step ends because the body wants it to: by cancelling it, a timeout of its own, or a group's end."""
    current = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling() > 0


async def end_leftovers() -> None:
    """Cancel the asyncio tasks that author code has left in its loop; one that does not end is forgotten.

    The loop would wait for it for ever, and the worker with it.
    """
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if not left:
        return
    for each in left:
        each.cancel()
    _, deaf = await asyncio.wait(left, timeout=PATIENCE)
    for each in deaf:
        logger.warning("An asyncio task that a pipeline left behind does not heed that it is cancelled: %r", each)
        asyncio._unregister_task(each)
