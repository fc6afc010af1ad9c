"""Soft timeouts in threads, which signals do not reach: a timer raises an asynchronous exception in the thread.

Python delivers it between two bytecodes of the thread, so a call that blocks returns first.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Final

from taskqueue.engine.runtime.engine_threads import ENGINE_THREADS
from taskqueue.errors import StepTimedOut

logger = logging.getLogger("taskqueue.workers")

LOCKING_MODULES: Final = frozenset({"logging", "threading", "queue", "concurrent", "importlib", "_frozen_importlib"})

POSTPONEMENT: Final = 0.005
LONGEST_POSTPONEMENT: Final = 1.0
"""Seconds. A thread that waits in such a module for longer, as in `queue.get()`, is interrupted in any case."""


@contextmanager
def thread_alarm(step: str, timeout: timedelta, cancel_queries: Callable[[], None]) -> Iterator[None]:
    """Raise StepTimedOut in the calling thread once the timeout is over, and cancel the query that it waits for."""
    alarm = Alarm(time.monotonic() + timeout.total_seconds(), timed_out(step, timeout), cancel_queries)
    timer.add(alarm)
    try:
        try:
            yield
        finally:
            timer.remove(alarm)
    except StepTimedOut:
        # The exception may have come inside `remove`. It comes once, so that this second call is not interrupted.
        timer.remove(alarm)
        raise


class Postponement:
    """How often the exception of one timeout was postponed, by `POSTPONEMENT` each time. Also for a signal."""

    def __init__(self) -> None:
        self._total = 0.0

    def is_needed(self, frame: FrameType | None) -> bool:
        """Whether the thread, in this frame, must not be interrupted now. Counts it."""
        if self._total >= LONGEST_POSTPONEMENT or not may_hold_a_lock(frame):
            return False
        self._total += POSTPONEMENT
        return True


@dataclass(eq=False)
class Alarm:
    """A step's timeout in a thread."""

    at: float
    error: type[StepTimedOut]
    cancel_queries: Callable[[], None]
    thread: int = field(default_factory=threading.get_ident)
    is_raised: bool = False
    is_cancelling: bool = False
    postponement: Postponement = field(default_factory=Postponement)


class Timer:
    """Raises the exceptions of alarms, from a thread of its own that starts with the first alarm."""

    def __init__(self) -> None:
        # Entered directly: an exception between the acquisition by a Condition and its `with` would leave it locked.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._alarms: list[Alarm] = []
        self._pid = 0

    def add(self, alarm: Alarm) -> None:
        with self._lock:
            self._alarms.append(alarm)
            if self._pid != os.getpid():  # threads do not survive a fork
                self._pid = os.getpid()
                threading.Thread(target=self._run, name=f"{ENGINE_THREADS}timeouts", daemon=True).start()
            self._changed.notify_all()

    def remove(self, alarm: Alarm) -> None:
        """Raise no exception for this alarm from now on, and take one back that was not delivered yet."""
        if self._pid != os.getpid():  # a child that author code has forked, without the timer
            return
        with self._lock:
            if alarm in self._alarms:
                self._alarms.remove(alarm)
            while alarm.is_cancelling:  # else the cancellation might meet the engine's next statement
                self._changed.wait()
        if alarm.is_raised:
            take_back()

    def _run(self) -> None:
        while True:
            alarm = self._raise_next()
            try:
                alarm.cancel_queries()
            except Exception:  # the timeouts of other steps depend on this thread
                logger.exception("The query of a step that ran too long was not cancelled")
            with self._lock:
                alarm.is_cancelling = False
                self._changed.notify_all()

    def _raise_next(self) -> Alarm:
        """Wait for the earliest alarm, and raise its exception."""
        with self._lock:
            while True:
                due = min(self._alarms, key=lambda alarm: alarm.at, default=None)
                left = due.at - time.monotonic() if due is not None else None
                if due is not None and left is not None and left <= 0:
                    if due.postponement.is_needed(sys._current_frames().get(due.thread)):
                        due.at = time.monotonic() + POSTPONEMENT
                        continue
                    self._alarms.remove(due)
                    due.is_raised = due.is_cancelling = True
                    raise_in_thread(due.thread, due.error)
                    return due
                self._changed.wait(left)


def may_hold_a_lock(frame: FrameType | None) -> bool:
    """Whether a thread in this frame may have a lock of Python's library that its own code would not release.

    An exception that comes between the acquisition of such a lock and the `try` behind it leaves it locked for ever:
    that of a log handler, a queue or an import, which other threads wait for.
    """
    return frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in LOCKING_MODULES


def timed_out(step: str, timeout: timedelta) -> type[StepTimedOut]:
    """StepTimedOut as a class without arguments: Python makes the instance in the thread."""

    def make(self: StepTimedOut) -> None:
        StepTimedOut.__init__(self, step, timeout)

    return type(StepTimedOut.__name__, (StepTimedOut,), {"__init__": make, "__module__": StepTimedOut.__module__})


class TakenBack(BaseException):
    """Replaces an exception that was not delivered, and is caught at once."""


def take_back() -> None:
    """Take back an exception for the calling thread that was not delivered, if there is one.

    By another one that is delivered here: Python 3.11 and 3.12 notice only by a delivery that none is left, and until
    then each call and loop of the process asks for it; one under `sys.setprofile` or a debugger asks for ever.
    """
    try:
        raise_in_thread(threading.get_ident(), TakenBack)
        wait_for_exception()
    except TakenBack:
        pass


def wait_for_exception() -> None:
    while True:
        pass


def raise_in_thread(thread: int, error: type[BaseException]) -> None:
    """Have an exception raised in a thread, in place of one that was not delivered yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


timer = Timer()
