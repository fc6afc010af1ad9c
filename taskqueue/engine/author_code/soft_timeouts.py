"""Soft timeouts: a step that runs too long gets an exception, and may clean up."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import FrameType

from taskqueue.engine.author_code.thread_timeouts import POSTPONEMENT, Postponement, thread_alarm
from taskqueue.errors import StepTimedOut


@contextmanager
def sync_alarm(step: str, timeout: timedelta | None, *, cancel_queries: Callable[[], None]) -> Iterator[None]:
    """Raise StepTimedOut in the code inside once the timeout is over, and cancel the query that it waits for.

    In the main thread a signal also interrupts a call that blocks, such as `time.sleep`. In another thread the
    exception comes when the call returns.
    """
    if timeout is None:
        yield
    elif threading.current_thread() is threading.main_thread():
        with signal_alarm(step, timeout, cancel_queries):
            yield
    else:
        with thread_alarm(step, timeout, cancel_queries):
            yield


@contextmanager
def signal_alarm(step: str, timeout: timedelta, cancel_queries: Callable[[], None]) -> Iterator[None]:
    postponement = Postponement()

    def on_alarm(_signal: int, frame: FrameType | None) -> None:
        if postponement.is_needed(frame):
            signal.setitimer(signal.ITIMER_REAL, POSTPONEMENT)
            return
        cancel_queries()
        raise StepTimedOut(step, timeout)

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, timeout.total_seconds())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@asynccontextmanager
async def async_alarm(step: str, timeout: timedelta | None) -> AsyncIterator[None]:
    """Cancel the coroutine inside where it awaits once the timeout is over, then raise StepTimedOut."""
    scope = asyncio.timeout(timeout.total_seconds() if timeout else None)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if scope.expired() and timeout is not None:
            raise StepTimedOut(step, timeout) from error
        raise
