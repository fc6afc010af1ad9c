"""Call a step of an async body: in its event loop, while the worker's own thread does the database work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from asgiref.sync import sync_to_async

from taskqueue.definitions import StepDefinition
from taskqueue.engine.author_code.coroutines import is_cancelled_from_outside, run_standalone, to_its_end
from taskqueue.engine.author_code.soft_timeouts import async_alarm
from taskqueue.engine.execution.concurrent_steps import ConcurrentSteps
from taskqueue.engine.execution.recorder import checkpoint, write_arguments
from taskqueue.engine.execution.replay import Call, Memoized, begin_call
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.execution.step_calls import StepCaller
from taskqueue.engine.runtime.failures import is_author_error
from taskqueue.engine.runtime.forks import exit_if_forked
from taskqueue.engine.runtime.outcomes import Failed, Release, Suspended
from taskqueue.engine.tracing import step_span

T = TypeVar("T")


class CallInThread(Protocol):
    """Calls a function of the engine's in a thread that has a database connection, and awaits what it returns."""

    def __call__(self, function: Callable[..., T], *args: Any) -> Awaitable[T]: ...


def in_worker_thread(function: Callable[..., T], *args: Any) -> Awaitable[T]:
    """Call a function in the worker's own thread, which waits for the event loop."""
    return sync_to_async(function)(*args)


class AsyncStepCaller(StepCaller):
    """Calls the steps of a body that may be async; several of them may run concurrently.

    Args:
        execution: the one that calls them.
        in_engine_thread: how its database work leaves the event loop.
    """

    def __init__(self, execution: Execution, in_engine_thread: CallInThread = in_worker_thread) -> None:
        super().__init__(execution)
        self.in_engine_thread = in_engine_thread
        self.concurrent = ConcurrentSteps(execution.suspend, replayed_steps=lambda: len(execution.keys))

    def acall(
        self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        """Call a step from an async body. Its key is given now, not when awaited, so that gathered steps keep theirs.

        Raises:
            StepFailed, Suspended: as `call` does, when awaited.
        """
        return self._acall(step, self.execution.step_key(step.name, explicit_key), args, kwargs)

    async def _acall(self, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            if not step.is_async:
                with self.concurrent.running(key):
                    return await to_its_end(sync_to_async(self._call)(step, key, args, kwargs))
            call = begin_call(self.execution, step, key, args, kwargs)
            if isinstance(call, Memoized):
                return call.value
            with self.concurrent.running(key):
                return await self._await_call(call)
        except Suspended:
            await self.concurrent.all_finished()  # a task group cancels the other steps when one raises
            raise

    async def _await_call(self, call: Call) -> Any:
        try:
            if self.admission.applies_to(call.step):
                await self._await_admission(call)
            with self._running(call):
                if call.arguments is None:
                    write_arguments(call)
                with step_span(call.key, call.step.name, attempt=call.failures + 1):
                    async with async_alarm(call.key, call.step.timeout):
                        value = await run_standalone(call.step.active_function(*call.args, **call.kwargs))
                    exit_if_forked(self.execution.pid)
                    self.execution.activity.note_return(call.key)
                    return await self.in_engine_thread(checkpoint, self.execution, call, value)
        except BaseException as error:
            exit_if_forked(self.execution.pid)
            if not is_author_error(error) or is_cancelled_from_outside(error):
                raise
            raise await self.in_engine_thread(self._failure, call, error) from error
        finally:
            if call.key in self.admission.slots_held:
                await self.in_engine_thread(self.admission.release, call.key)

    async def _await_admission(self, call: Call) -> None:
        """As `_admit`, but wait in the event loop while another step of the body executes."""
        with self._running(call):
            write_arguments(call)
        execution = self.execution
        while not isinstance(admission := await self.in_engine_thread(self.admission.acquire, call), timedelta):
            if isinstance(admission, Release):
                raise execution.suspend(admission)
            if not await self.concurrent.wait(call.key, admission):
                raise Suspended(execution.suspended or admission)
            execution.journal.check()
            if isinstance(execution.suspended, Release | Failed) or execution.should_stop:
                raise execution.suspend(Release())
        call.started = time.monotonic() + admission.total_seconds()
        await asyncio.sleep(admission.total_seconds())
