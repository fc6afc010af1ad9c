"""The event loop of an async worker, in a thread of its own: which task's code runs on it, and what blocks it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

from taskqueue import context
from taskqueue.engine.runtime.engine_threads import ENGINE_THREADS
from taskqueue.engine.runtime.forks import FORKED_EXIT_CODE
from taskqueue.engine.runtime.stacks import author_frames, without_engine_frames

logger = logging.getLogger("taskqueue.workers")

T = TypeVar("T")

TICK: Final = 0.2
"""Seconds between two signs of life of the loop, while it executes tasks."""

BLOCKED_AFTER: Final = 1.0
"""Seconds without a sign of life after which the loop counts as blocked."""


class EventLoop:
    """An event loop that author code of many tasks shares.

    Attributes:
        thread: the ident of its thread; 0 before it is started.
    """

    def __init__(self) -> None:
        self.thread = 0
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._new_task)
        self._by_owner: weakref.WeakKeyDictionary[Any, set[asyncio.Task[Any]]] = weakref.WeakKeyDictionary()
        self._owners: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._ticked_at = 0.0
        self._ticks: Callable[[], bool] = lambda: False
        self._ticking = self._is_stopped = False

    def start(self, *, while_ticking: Callable[[], bool], default_threads: ThreadPoolExecutor) -> None:
        """Start its thread.

        Args:
            while_ticking: whether it executes tasks; called in its thread.
            default_threads: for `asyncio.to_thread()`.
        """
        self._loop.set_default_executor(default_threads)
        self._ticks = while_ticking
        started = threading.Event()
        self._loop.call_soon(started.set)
        threading.Thread(target=self._run, name=f"{ENGINE_THREADS}event-loop", daemon=True).start()
        started.wait()
        os.register_at_fork(after_in_child=self._leave_in_child)

    def stop(self) -> None:
        """End its thread. Called from any other thread."""
        self._is_stopped = True
        self._loop.call_soon_threadsafe(self._loop.stop)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the loop's thread. Called from any thread."""
        self._loop.call_soon_threadsafe(function)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine of the engine's, in a context of its own."""
        return self._loop.create_task(coroutine, context=contextvars.Context())

    def tick(self) -> None:
        """Give signs of life from now on, for as long as the loop executes tasks. Called in the loop's thread."""
        if not self._ticking:
            self._ticking = True
            self._tick()

    def tasks_of(self, owner: Any) -> list[asyncio.Task[Any]]:
        """The asyncio tasks that run code of a taskqueue task, whose handle is `context.current` there."""
        return list(self._by_owner.get(owner, ()))

    def blocked_seconds(self) -> float:
        """For how long code has kept the loop busy without an await; 0 when it is not blocked."""
        if not self._ticking:
            return 0.0
        seconds = time.monotonic() - self._ticked_at
        return seconds if seconds > BLOCKED_AFTER else 0.0

    def running(self) -> Any:
        """The handle of the task whose code runs on the loop now; None for none. Called from any thread."""
        with suppress(RuntimeError, KeyError):
            task = asyncio.current_task(self._loop)
            return self._owners.get(task) if task is not None else None
        return None

    def stack_of(self, owner: Any, thread: int) -> str:
        """Where a task's code stands: each of its asyncio tasks, and a thread that runs plain code for it.

        Args:
            owner: the task's handle.
            thread: the ident of that thread; 0 for none.
        """
        frames = sys._current_frames()
        stacks = [author_frames(frames[thread])] if thread in frames else []
        if self.running() is owner and self.thread in frames:
            stacks.append(author_frames(frames[self.thread]))
        else:
            stacks += [awaited_frames(task) for task in self.tasks_of(owner) if not task.done()]
        return "\n".join("".join(stack) for stack in stacks if stack)

    def _run(self) -> None:
        self.thread = threading.get_ident()
        asyncio.set_event_loop(self._loop)
        pid = os.getpid()
        while not self._is_stopped:
            # Author code can stop the loop, and its SystemExit comes out of it: the other tasks go on.
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                pass
            except Exception:  # the other tasks depend on it
                if os.getpid() == pid:
                    logger.exception("The event loop failed; it goes on")
            if os.getpid() != pid:
                os._exit(FORKED_EXIT_CODE)

    def _leave_in_child(self) -> None:
        """In a child that code on this loop has forked: run nothing of the other tasks, and end at the next await."""
        if threading.get_ident() == self.thread:
            loop: Any = self._loop
            loop._ready.clear()
            loop._scheduled.clear()
            loop._selector.close()

    def _tick(self) -> None:
        self._ticked_at = time.monotonic()
        if self._ticks():
            self._loop.call_later(TICK, self._tick, context=contextvars.Context())
        else:
            self._ticking = False

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        given = options.get("context")
        owner = given.get(context.current) if given is not None else context.current.get()
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        # Else `asyncio.all_tasks()` would show them, and code that cancels all others would reach those of other tasks.
        asyncio._unregister_task(task)
        if owner is not None:
            self._owners[task] = owner
            of_owner = self._by_owner.setdefault(owner, set())
            of_owner.add(task)
            task.add_done_callback(of_owner.discard)
        return task


def awaited_frames(task: asyncio.Task[Any]) -> list[str]:
    """Where an asyncio task waits: the frames of its coroutine and of those that it awaits."""
    frames = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        for prefix in ("cr", "gi", "ag"):
            if (frame := getattr(awaited, f"{prefix}_frame", None)) is not None:
                frames.append((frame, frame.f_lineno))
                awaited = getattr(awaited, {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}[prefix])
                break
        else:
            break
    return without_engine_frames(traceback.StackSummary.extract(frames))
