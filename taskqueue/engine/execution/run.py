"""Execute a claimed task: load its journal, run its body from the beginning, return how it ended.

`step_calls` replays or calls each step on the way, `recorder` writes its result, `step_failures` its failed attempt;
`task_handle` is the author's API.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import async_to_sync

from taskqueue import context
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine.author_code import log_capture
from taskqueue.engine.author_code.coroutines import cancel_remaining_tasks
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.async_step_calls import AsyncStepCaller
from taskqueue.engine.execution.body_outcome import outcome_of_error, succeeded
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.parallel_step import run_parallel_step
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.execution.step_admission import wait_for_throttle
from taskqueue.engine.execution.task_handle import TaskHandle
from taskqueue.engine.runtime.engine_threads import event_loop_of
from taskqueue.engine.runtime.forks import exit_if_forked
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Outcome, Release
from taskqueue.engine.tracing import TaskSpan


def execute_task(lease: Lease, *, activity: Activity, stopping: context.ShouldStop) -> Outcome:
    """Execute a claimed task until its body ends or suspends, and return the outcome.

    Raises:
        DatabaseLost, django.db.Error: the engine's own statements failed.
    """
    execution = Execution(Journal.load(lease), activity, stopping)
    with TaskSpan(lease) as span:
        with contained(execution):
            wait = wait_for_throttle(execution.journal)
            if wait:  # a sleep of zero seconds would let other processes run first
                time.sleep(wait.total_seconds())
            outcome = run_task(execution, span) if wait is not None else Release()
        return span.note(judge(execution, outcome))


def judge(execution: Execution, outcome: Outcome) -> Outcome:
    """What an execution ends with, by how its body ended and by what its steps have met."""
    # A body may have caught the exception that unwinds it with a bare `except:`.
    execution.journal.check()
    outcome = execution.drift.judge(execution.suspended or outcome, requested=execution.keys)
    return execution.journal.with_held(outcome)


@contextmanager
def contained(execution: Execution) -> Iterator[None]:
    """Undo what author code leaves in the process: a forked child, a timer, an open transaction."""
    activity, session = execution.activity, execution.journal.session
    # Signals and their timer belong to the main thread.
    has_timer = threading.current_thread() is threading.main_thread()
    timer = signal.getitimer(signal.ITIMER_REAL) if has_timer else (0.0, 0.0)
    activity.begin_task(execution.lease)
    log_capture.executing.add(execution)
    log_capture.install_handler()
    try:
        with session.watch():
            yield
    finally:
        exit_if_forked(execution.pid)
        if has_timer and not any(timer):
            signal.setitimer(signal.ITIMER_REAL, 0)  # one that author code has left would fire in another task
        log_capture.executing.discard(execution)
        activity.set_idle()
        session.mend()


def run_task(execution: Execution, span: TaskSpan | None = None) -> Outcome:
    """Run a task's body, or the step of a parallel task, in a context of its own: nothing leaks from task to task."""
    steps = AsyncStepCaller(execution)
    run = run_parallel_step if execution.lease.parallel_step else run_body

    def run_in_context() -> Outcome:
        context.current.set(TaskHandle(execution, steps))
        if span is not None:
            span.make_current()
        return run(execution, steps)

    return contextvars.Context().run(run_in_context)


def run_body(execution: Execution, steps: AsyncStepCaller) -> Outcome:
    started = time.monotonic()
    definition = registry.get(execution.lease.pipeline).body_for(execution.lease.version)
    execution.drift.begin(definition)
    try:
        value = call_body(definition, execution, steps)
        exit_if_forked(execution.pid)
        return succeeded(definition, execution, value)
    except BaseException as error:  # noqa: BLE001 - judged there
        return outcome_of_error(error, definition, execution, started)


def call_body(definition: PipelineDefinition, execution: Execution, steps: AsyncStepCaller) -> Any:
    """Call the author's function. An async one runs in another thread's event loop, its database work in this one."""
    args, kwargs = definition.payload.unpack(execution.lease.payload)
    if not definition.is_async:
        return definition.function(*args, **kwargs)

    async def await_body() -> Any:
        with event_loop_of(execution.activity.thread):
            try:
                return await definition.function(*args, **kwargs)
            finally:
                # A failed step must not waste the steps that still run.
                await steps.concurrent.all_finished()
                await cancel_remaining_tasks(asyncio.all_tasks())

    return async_to_sync(await_body)()
