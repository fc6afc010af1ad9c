"""Call the steps of an execution, plain and async: replay a recorded one, else run it and record what it returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async

from taskqueue import context
from taskqueue.definitions import StepDefinition
from taskqueue.engine.execution.admission import AdmissionControl
from taskqueue.engine.execution.concurrent_steps import ConcurrentSteps
from taskqueue.engine.execution.coroutines import is_cancelled_from_outside, run_standalone
from taskqueue.engine.execution.recorder import Recorder
from taskqueue.engine.execution.replay import Call, Memoized, begin_call
from taskqueue.engine.execution.soft_timeouts import async_alarm, sync_alarm
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import is_author_error
from taskqueue.engine.runtime.forks import exit_if_forked
from taskqueue.engine.runtime.outcomes import Failed, Release, Suspended


class StepCaller:
    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.recorder = Recorder(execution)
        self.admission = AdmissionControl(execution.journal)
        self.concurrent = ConcurrentSteps(execution.suspend, replayed_steps=lambda: len(execution.keys))

    def call(self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a plain step's recorded result, or call it and record what it returns.

        Raises:
            StepFailed: its retries are used up, now or in an earlier execution.
            Suspended: the task suspends here.
        """
        return self._call(step, self.execution.step_key(step.name, explicit_key), args, kwargs)

    def acall(
        self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        """Call a step from an async body. Its key is given now, not when awaited, so that gathered steps keep theirs.

        Raises:
            StepFailed, Suspended: as `call` does, when awaited.
        """
        return self._acall(step, self.execution.step_key(step.name, explicit_key), args, kwargs)

    def _call(self, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = begin_call(self.execution, step, key, args, kwargs)
        if isinstance(call, Memoized):
            return call.value
        session = self.execution.journal.session
        session.refuse_open_transaction(
            f"Step {key!r} was called inside a database transaction of the pipeline's body, which would delay "
            "its checkpoint. Begin transactions inside steps."
        )
        session.begin_step()
        try:
            with self._running(call):
                self.recorder.write_arguments(call)
                if self.admission.applies_to(step):
                    self._admit(call)
                value = self._run_and_record(call)
                self.recorder.run_commit_hooks(call)
        except BaseException as error:
            exit_if_forked(self.execution.pid)
            if not is_author_error(error):
                raise
            raise self._failure(call, error) from error
        finally:
            self.admission.release(key)
        return value

    def _admit(self, call: Call) -> None:
        """Acquire the step's slot and its time of the rate, or suspend the task until it has both."""
        admission = self.admission.acquire(call)
        if not isinstance(admission, timedelta):
            raise self.execution.suspend(admission)
        call.started = time.monotonic() + admission.total_seconds()
        time.sleep(admission.total_seconds())

    def _run_and_record(self, call: Call) -> Any:
        session = self.execution.journal.session
        # For step.atomic the author's writes and the checkpoint are one transaction: both happen, or neither.
        with session.atomic() if call.step.atomic else nullcontext():
            call.depth = len(session.django.savepoint_ids)
            with sync_alarm(call.key, call.step.timeout):
                value = call.step.active_function(*call.args, **call.kwargs)
            exit_if_forked(self.execution.pid)
            return self.recorder.checkpoint(call, value)

    async def _acall(self, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a step of an async body. The worker's main thread does the database work."""
        try:
            if not step.is_async:
                with self.concurrent.running(key):
                    return await sync_to_async(self._call)(step, key, args, kwargs)
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
                    self.recorder.write_arguments(call)
                async with async_alarm(call.key, call.step.timeout):
                    value = await run_standalone(call.step.active_function(*call.args, **call.kwargs))
                exit_if_forked(self.execution.pid)
                return await sync_to_async(self.recorder.checkpoint)(call, value)
        except BaseException as error:
            exit_if_forked(self.execution.pid)
            if not is_author_error(error) or is_cancelled_from_outside(error):
                raise
            raise await sync_to_async(self._failure)(call, error) from error
        finally:
            if call.key in self.admission.slots_held:
                await sync_to_async(self.admission.release)(call.key)

    async def _await_admission(self, call: Call) -> None:
        """As `_admit`, but wait in the event loop while another step of the body executes."""
        with self._running(call):
            self.recorder.write_arguments(call)
        execution = self.execution
        while not isinstance(admission := await sync_to_async(self.admission.acquire)(call), timedelta):
            if isinstance(admission, Release):
                raise execution.suspend(admission)
            if not await self.concurrent.wait(call.key, admission):
                raise Suspended(execution.suspended or admission)
            execution.journal.check()
            if isinstance(execution.suspended, Release | Failed) or execution.should_stop:
                raise execution.suspend(Release())
        call.started = time.monotonic() + admission.total_seconds()
        await asyncio.sleep(admission.total_seconds())

    @contextmanager
    def _running(self, call: Call) -> Iterator[None]:
        """Show the step as the running one to author code, the heartbeat and the log handler."""
        token, activity = context.current_step.set(call.key), self.execution.activity
        activity.begin_step(call.key, call.step, failures=call.failures)
        activity.lines[call.key] = call.lines
        try:
            with call.lines:
                yield
        finally:
            activity.lines.pop(call.key, None)
            activity.end_step(call.key)
            context.current_step.reset(token)

    def _failure(self, call: Call, error: BaseException) -> BaseException:
        """What the body gets to see of a step's error."""
        journal = self.execution.journal
        if journal.session.is_unanswered(error, recorded=call.is_recorded, atomic=call.step.atomic):
            return journal.lose(error, step=call.key)
        self.admission.on_error(call, error)
        return self.recorder.failure(call, error)
