"""Run coroutines of author code so that what they cancel or leave behind does not reach the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

T = TypeVar("T")

CANCEL_TIMEOUT: Final = 1.0
"""Seconds that an asyncio task which author code has left in its event loop gets to end, once it is cancelled."""

logger = logging.getLogger("taskqueue.workers")


async def run_standalone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a step's coroutine in an asyncio task of its own.

    This shows whether the step was cancelled from outside or has cancelled itself. An event loop lets SystemExit and
    KeyboardInterrupt out of a task only by ending, so an error comes out of it as a value.
    """
    result = await asyncio.create_task(result_or_error(coroutine))
    if isinstance(result, Raised):
        raise result.error
    return result


async def to_its_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a call in a thread. One that is cancelled is awaited too: nothing can stop it, and it may still write."""
    call = asyncio.ensure_future(coroutine)
    is_cancelled = False
    while not call.done():
        try:
            await asyncio.shield(asyncio.wait([call]))
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        if not call.cancelled():
            call.exception()  # else asyncio would log that it was never read
        raise asyncio.CancelledError
    return call.result()


class Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


async def result_or_error(coroutine: Coroutine[Any, Any, T]) -> T | Raised:
    try:
        return await coroutine
    except BaseException as error:  # noqa: BLE001 - judged where it is awaited
        return Raised(error)


def is_cancelled_from_outside(error: BaseException) -> bool:
    """Whether the body ends the step: it cancels it, its own timeout expires, or its task group ends."""
    current = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling() > 0


async def cancel_remaining_tasks(made_by_author: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the asyncio tasks that author code has left in its loop, and abandon those that do not end.

    The loop, and the worker with it, would wait for them for ever.
    """
    remaining = {each for each in made_by_author if not each.done()} - {asyncio.current_task()}
    if not remaining:
        return
    for each in remaining:
        each.cancel()
    _, still_running = await asyncio.wait(remaining, timeout=CANCEL_TIMEOUT)
    for each in still_running:
        logger.warning("An asyncio task that a pipeline left behind ignores its cancellation: %r", each)
        asyncio._unregister_task(each)
