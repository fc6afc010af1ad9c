"""Execute a claimed task on the event loop: load its journal, await its body, and tell how it ended."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from taskqueue import context
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine.async_worker.event_loop import EventLoop
from taskqueue.engine.async_worker.threads import AuthorThread, ConnectedThreads
from taskqueue.engine.author_code import log_capture
from taskqueue.engine.author_code.coroutines import Raised, cancel_remaining_tasks, result_or_error
from taskqueue.engine.execution import parallel_step
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.async_step_calls import AsyncStepCaller, CallInThread
from taskqueue.engine.execution.body_outcome import outcome_of_error, succeeded
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.run import judge
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.execution.step_admission import wait_for_throttle
from taskqueue.engine.execution.task_handle import TaskHandle
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Outcome, Release
from taskqueue.engine.tracing import TaskSpan

ENGINE_CONNECTIONS: Final = 3
"""Threads for the engine's statements: one that waits for a lock on its task's row must not stop all other tasks."""


@dataclass
class Threads:
    """Where the work of async tasks runs that would block the event loop."""

    loop: EventLoop
    for_plain_code: ConnectedThreads
    engine: ConnectedThreads = field(default_factory=partial(ConnectedThreads, "async", ENGINE_CONNECTIONS))

    @property
    def call_in_engine_thread(self) -> CallInThread:
        # asgiref takes any executor, and types one of them.
        executor = cast(ThreadPoolExecutor, self.engine)
        return lambda function, *args: sync_to_async(function, thread_sensitive=False, executor=executor)(*args)


Conclusion = Callable[[], Outcome]
"""Returns the outcome of an execution; called in the engine's thread, since it may read or write.

Raises:
    DatabaseLost, django.db.Error: the engine's own statements failed.
"""


async def execute_async_task(
    lease: Lease, *, activity: Activity, stopping: context.ShouldStop, threads: Threads
) -> Conclusion:
    """Execute a claimed task until its body ends or suspends.

    Raises:
        DatabaseLost, django.db.Error: the engine's own statements failed.
    """
    in_engine_thread = threads.call_in_engine_thread
    execution, wait = await in_engine_thread(begin, lease, activity, stopping)
    if wait is None:
        return partial(judge, execution, Release())
    await asyncio.sleep(wait.total_seconds())
    span = TaskSpan(lease)
    steps = AsyncStepCaller(execution, in_engine_thread)
    handle = TaskHandle(execution, steps)
    plain_code = AuthorThread(execution.journal, threads.for_plain_code, execution.pid)
    activity.read_stack = lambda: threads.loop.stack_of(handle, plain_code.thread)
    activity.begin_task(lease)
    log_capture.executing.add(execution)
    log_capture.install_handler()
    try:
        author_code = AuthorCode(handle, plain_code, span)
        if lease.parallel_step:
            return partial(judge_lazily, execution, span, await run_parallel_step(author_code, execution, steps))
        return partial(judge_lazily, execution, span, await run_body(author_code, execution))
    except BaseException as error:
        span.end(error)
        raise
    finally:
        # A failed step must not waste the steps that still run.
        await steps.concurrent.all_finished()
        await cancel_remaining_tasks(threads.loop.tasks_of(handle))
        await plain_code.all_ended()
        log_capture.executing.discard(execution)
        activity.set_idle()
        activity.read_stack = None  # it refers to the execution, which refers to the activity


def begin(lease: Lease, activity: Activity, stopping: context.ShouldStop) -> tuple[Execution, timedelta | None]:
    """Load the journal. Returns with it how long the pipeline's throttle delays the body; None: until another claim."""
    execution = Execution(Journal.load(lease), activity, stopping)
    if not lease.parallel_step:
        execution.drift.begin(definition_of(lease))
    return execution, wait_for_throttle(execution.journal)


def definition_of(lease: Lease) -> PipelineDefinition:
    return registry.get(lease.pipeline).body_for(lease.version)


def judge_lazily(execution: Execution, span: TaskSpan, conclusion: Conclusion) -> Outcome:
    with span:
        return span.note(judge(execution, conclusion()))


async def run_body(author_code: AuthorCode, execution: Execution) -> Conclusion:
    started = time.monotonic()
    definition = definition_of(execution.lease)
    try:
        args, kwargs = definition.payload.unpack(execution.lease.payload)
        value = await author_code.call(definition, args, kwargs)
    except BaseException as error:  # noqa: BLE001 - judged there
        return partial(outcome_of_error, error, definition, execution, started)
    return partial(end, definition, execution, value, started)


def end(definition: PipelineDefinition, execution: Execution, value: Any, started: float) -> Outcome:
    try:
        return succeeded(definition, execution, value)
    except Exception as error:  # noqa: BLE001 - judged there: the value may not fit
        return outcome_of_error(error, definition, execution, started)


async def run_parallel_step(author_code: AuthorCode, execution: Execution, steps: AsyncStepCaller) -> Conclusion:
    started = time.monotonic()
    try:
        step, *call = parallel_step.call_of(execution.lease)
        if step.is_async:
            await author_code.run(parallel_step.await_step(steps, step, *call))
        else:
            await author_code.run(sync_to_async(steps.call)(step, *call))
    except BaseException as error:  # noqa: BLE001 - judged there
        return partial(parallel_step.outcome_of_error, error, execution, started)
    return partial(parallel_step.succeeded, execution)


class AuthorCode:
    """Runs a task's code, with `current_task()`, in asyncio tasks of its own: what it cancels there is its own."""

    def __init__(self, handle: TaskHandle, plain_code: AuthorThread, span: TaskSpan) -> None:
        self._context = contextvars.Context()
        # asgiref finds the thread for plain code by this object.
        self._thread_sensitive = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[self._thread_sensitive] = plain_code
        self._context.run(context.current.set, handle)
        self._context.run(span.make_current)
        self._context.run(SyncToAsync.thread_sensitive_context.set, self._thread_sensitive)

    async def call(self, definition: PipelineDefinition, args: Any, kwargs: Any) -> Any:
        """Call a body, and return what it returns. The code of an older version may be a plain function."""
        if definition.is_async:
            return await self.run(definition.function(*args, **kwargs))
        # asyncio cannot pass a StopIteration on.
        call = sync_to_async(value_or_error)
        return raise_error(await self.run(call(definition.function, args, kwargs)))

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await a coroutine of the task's. Raises what it raises."""
        return raise_error(await asyncio.create_task(result_or_error(coroutine), context=self._context))


def value_or_error(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
        return Raised(error)


def raise_error(result: Any) -> Any:
    if isinstance(result, Raised):
        raise result.error
    return result
