"""Execution: the pipeline's body runs from its beginning; each step on its way is recalled, or called and recorded."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async

from taskqueue import codec, context
from taskqueue.conf import settings
from taskqueue.definitions import NAME_MAX_LENGTH, PipelineDefinition, StepDefinition, fingerprint, registry
from taskqueue.engine.execution import log_capture, parallel
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.admission import AdmissionControl
from taskqueue.engine.execution.body_errors import ended_by
from taskqueue.engine.execution.concurrent_steps import Siblings
from taskqueue.engine.execution.coroutines import alone, end_leftovers, is_cancelled_from_outside
from taskqueue.engine.execution.drift import Drift
from taskqueue.engine.execution.forks import end_strays
from taskqueue.engine.execution.hooks import run_hooks
from taskqueue.engine.execution.journal import Journal, memoized_failure
from taskqueue.engine.execution.memoized import checked_key, memoized_value, under_way_elsewhere
from taskqueue.engine.execution.replay import Call, Memoized
from taskqueue.engine.execution.results import checked
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.execution.soft_timeouts import async_alarm, sync_alarm
from taskqueue.engine.execution.task_handle import TaskHandle
from taskqueue.engine.runtime.failures import describe, is_of_the_author, judge
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import (
    Blocked,
    Failed,
    Outcome,
    Paused,
    Release,
    RetryLater,
    Succeeded,
    Suspended,
)
from taskqueue.engine.tasks import children
from taskqueue.errors import InvalidContext, StepFailed
from taskqueue.states import StepStatus


def perform(lease: Lease, *, activity: Activity, stopping: context.Stopping) -> Outcome:
    """Execute a claimed task until its body ends or has to pause, and name what came of it.

    Raises:
        DatabaseLost: the engine's own statements failed.
    """
    execution = Execution(Journal.load(lease), activity, stopping)
    activity.begin_task(lease)
    log_capture.listen()
    session, alarm = execution.journal.session, signal.getitimer(signal.ITIMER_REAL)
    try:
        with session.watch():
            outcome = contextvars.Context().run(execution.run) if execution.turns.may_begin() else Release()
    finally:
        end_strays(execution.pid)
        if not any(alarm):
            signal.setitimer(signal.ITIMER_REAL, 0)  # one that author code has left would ring in another's task
        activity.rest()
        session.mend()
    # A body that swallows the unwinding with a bare `except:` does not get past it.
    execution.journal.check()
    return execution.drift.judge(execution.suspended or outcome, asked=execution.keys)


class Execution(TaskHandle):
    """One worker's way through one task. It is the `RunningTask` that the authoring objects see."""

    def __init__(self, journal: Journal, activity: Activity, stopping: context.Stopping) -> None:
        super().__init__(journal, activity)
        self.stopping = stopping
        self.pid = os.getpid()
        self.calls: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.siblings = Siblings(self._suspend, lambda: len(self.keys))
        self.arguments: dict[str, str] = {}
        self.turns = AdmissionControl(journal)
        self.drift = Drift(journal)
        self.suspended: RetryLater | Release | Paused | Blocked | Failed | None = None

    def run(self) -> Outcome:
        """Call the body and name what came of it. In a context of its own: nothing leaks from task to task."""
        context.current.set(self)
        if self.lease.parallel_step:
            return parallel.run(self.journal, self.call, self.acall)
        began = time.monotonic()
        definition = registry.get(self.lease.pipeline).body_for(self.lease.version)
        self.drift.begin(definition)
        # An async body runs in an event loop beside this thread, which goes on doing the database's work for it.
        body: Callable[..., Any] = async_to_sync(self._await_body) if definition.is_async else self._call_body
        try:
            args, kwargs = definition.payload.unpack(self.lease.payload)
            value = body(definition, args, kwargs)
            end_strays(self.pid)
            result = definition.result.write(value, what="result")
            limit = settings().STEP_OUTPUT_MAX_BYTES
            result = codec.within(result, limit=limit, what="The result", setting="STEP_OUTPUT_MAX_BYTES")
            self.journal.session.refuse_open_transaction(
                "The pipeline's body began a database transaction and did not end it. Use transaction.atomic()."
            )
            return Succeeded(result, fingerprint(definition))
        except Suspended as pause:
            return pause.outcome
        except BaseException as error:
            end_strays(self.pid)
            if not is_of_the_author(error):
                raise
            return ended_by(error, definition, self.journal, timedelta(seconds=time.monotonic() - began))

    def _call_body(self, definition: PipelineDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return definition.function(*args, **kwargs)

    async def _await_body(self, definition: PipelineDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Await an async body, and then the steps that it left in flight: a failed one must not waste its siblings."""
        try:
            return await definition.function(*args, **kwargs)
        finally:
            await self.siblings.all_ended()
            await end_leftovers()

    def call(self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Recall a plain step's result, or call it and record what it returned.

        Raises:
            StepFailed: its retries are used up, now or in an earlier execution.
            Suspended: the task pauses here.
        """
        return self._call(step, self._key(step.name, explicit_key), args, kwargs)

    def _call(self, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = self._begin(step, key, args, kwargs)
        if isinstance(call, Memoized):
            return call.value
        session, recorded = self.journal.session, False
        session.refuse_open_transaction(
            f"Step {call.key!r} was called inside a database transaction of the pipeline's body, which would hold back "
            "its checkpoint. Begin transactions inside steps."
        )
        session.begin_step()
        try:
            with self._inside(call):
                self._write_arguments(call)
                if self.turns.concern(step):
                    self._acquire(call)
                # For step.atomic the author's writes and the checkpoint are one transaction: both happen, or neither.
                with session.atomic() if step.atomic else nullcontext():
                    call.depth = len(session.django.savepoint_ids)
                    with sync_alarm(call.key, step.timeout):
                        value = step.called(*args, **kwargs)
                    end_strays(self.pid)
                    value = self._checkpoint(call, value)
                    recorded = True
                run_hooks(self.journal, call, self._secrets)
        except BaseException as error:
            end_strays(self.pid)
            if not is_of_the_author(error):
                raise
            if session.is_unanswered(error, recorded=recorded, atomic=step.atomic):
                raise self.journal.lose(error, step=call.key) from error
            raise self._failure(call, error) from error
        finally:
            self.turns.leave(call.key)
        return value

    def acall(
        self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        """Call a step from an async body; its key is taken now, not when awaited, so that gathering is stable."""
        return self._acall(step, self._key(step.name, explicit_key), args, kwargs)

    async def _acall(self, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a step of an async body; the database is used in the worker's main thread."""
        try:
            if not step.is_async:
                with self.siblings.beside(key):
                    return await sync_to_async(self._call)(step, key, args, kwargs)
            call = self._begin(step, key, args, kwargs)
            if isinstance(call, Memoized):
                return call.value
            with self.siblings.beside(key):
                return await self._call_async(call)
        except Suspended:
            await self.siblings.all_ended()  # a task group cancels the steps beside one that raises
            raise

    async def _call_async(self, call: Call) -> Any:
        try:
            if self.turns.concern(call.step):
                await self._await_turn(call)
            with self._inside(call):
                if call.key not in self.arguments:
                    self._write_arguments(call)
                async with async_alarm(call.key, call.step.timeout):
                    value = await alone(call.step.called(*call.args, **call.kwargs))
                end_strays(self.pid)
                return await sync_to_async(self._checkpoint)(call, value)
        except BaseException as error:
            end_strays(self.pid)
            if not is_of_the_author(error) or is_cancelled_from_outside(error):
                raise
            raise await sync_to_async(self._failure)(call, error) from error
        finally:
            if call.key in self.turns.taken:
                await sync_to_async(self.turns.leave)(call.key)

    def _begin(self, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | Memoized:
        """Decide what a call of a step means: replay, raise again, suspend, or really call it."""
        self.journal.check()
        if self.suspended is not None:
            raise Suspended(self.suspended)
        entry = self.journal.entries.get(key)
        if entry is not None and (drifted := self.drift.of_step(step, key, entry, args, kwargs)) is not None:
            raise self._suspend(drifted)
        if entry is not None and entry.status == StepStatus.SUCCEEDED:
            return Memoized(memoized_value(step, key, entry))
        if entry is not None and entry.status == StepStatus.FAILED:
            raise memoized_failure(key, entry)
        if (under_way := under_way_elsewhere(key, self.journal)) is not None:
            raise self._suspend(under_way)
        if self.stopping() or self.journal.is_paused:
            raise self._suspend(Release())
        return Call(step, key, entry, args, kwargs)

    def pause(self, pauses: Sequence[context.Pause]) -> list[context.Recorded]:
        """Tell what came of each pause, in order, once none of them is open.

        Raises:
            Suspended: the task waits until then.
        """
        asked = [replace(each, key=self._key(each.name, each.explicit_key)) for each in pauses]
        self.journal.check()
        if self.suspended is not None:
            raise Suspended(self.suspended)
        entries = [self.journal.entries.get(each.key) for each in asked]
        if (drifted := self.drift.of_pauses(asked)) is not None:
            raise self._suspend(drifted)
        if any(entry is None or entry.is_to_be_called or entry.status == StepStatus.WAITING for entry in entries):
            children.check_depth(self.lease, asked)
            self.journal.check_room(asked)
            raise self._suspend(Paused(tuple(asked), self.journal.output_bytes))
        return [
            context.Recorded(each.key, entry.output, entry.error)
            for each, entry in zip(asked, entries, strict=True)
            if entry is not None
        ]

    def emit(self, event: str, data: str) -> None:
        """Send an event whose data is this JSON, once, however often the body runs."""
        key = self._key(f"emit {event}"[:NAME_MAX_LENGTH], "")
        self.journal.check()
        if self.suspended is not None:
            raise Suspended(self.suspended)
        if key in self.journal.entries:
            return
        if not self.journal.emit(key, event, data):
            raise self._suspend(Release())

    def _key(self, name: str, explicit_key: str) -> str:
        """The step's key: its name, then name#2 and so on by the order of calls; or what `.named()` gave it."""
        key = explicit_key
        if not key:
            self.calls[name] += 1
            key = name if self.calls[name] == 1 else f"{name}#{self.calls[name]}"
        if checked_key(key) in self.keys:
            raise InvalidContext(f"Two steps of this task are named {key!r}. Give each call its own name.")
        self.keys.add(key)
        return key

    @contextmanager
    def _inside(self, call: Call) -> Iterator[None]:
        """While author code of a step is on the stack."""
        token = context.current_step.set(call.key)
        self.activity.begin_step(call.key, call.step, failures=call.entry.failures if call.entry else 0)
        self.activity.lines[call.key] = call.lines.of(self.arguments.get(call.key))
        try:
            with call.lines:
                yield
        finally:
            self.activity.lines.pop(call.key, None)
            self.activity.end_step(call.key)
            context.current_step.reset(token)

    def _write_arguments(self, call: Call) -> None:
        """Keep the call's arguments as JSON, before the author's function may change them."""
        written = call.step.arguments.write(call.args, call.kwargs, what=f"arguments of step {call.key!r}")
        limit = settings().STEP_OUTPUT_MAX_BYTES
        what = f"The arguments of step {call.key!r}"
        codec.within(written, limit=limit, what=what, setting="STEP_OUTPUT_MAX_BYTES")
        self.arguments[call.key] = written

    def _acquire(self, call: Call) -> None:
        """Take the step's turn, or suspend the task until it has one."""
        turn = self.turns.take(call.step, call.key, self.arguments[call.key])
        if not isinstance(turn, timedelta):
            raise self._suspend(turn)
        call.began = time.monotonic() + turn.total_seconds()
        time.sleep(turn.total_seconds())

    async def _await_turn(self, call: Call) -> None:
        """Take an async step's turn, or wait for it in the event loop while a step beside this one executes."""
        with self._inside(call):
            self._write_arguments(call)
        take = partial(sync_to_async(self.turns.take), call.step, call.key, self.arguments[call.key])
        while not isinstance(turn := await take(), timedelta):
            if isinstance(turn, Release):
                raise self._suspend(turn)
            if not await self.siblings.wait(call.key, turn):
                raise Suspended(self.suspended or turn)
            self.journal.check()
            if isinstance(self.suspended, Release | Failed) or self.stopping() or self.journal.is_paused:
                raise self._suspend(Release())
        call.began = time.monotonic() + turn.total_seconds()
        await asyncio.sleep(turn.total_seconds())

    def _checkpoint(self, call: Call, value: Any) -> Any:
        """Record what a step returned, and return it as a later execution will replay it."""
        self._check_session(call)
        output, recalled = checked(call.step, call.key, value, used=self.journal.output_bytes)
        recorded = self.journal.checkpoint(
            key=call.key,
            name=call.step.name,
            arguments=self.arguments[call.key],
            output=output,
            elapsed=call.elapsed,
            logs=call.lines.written(self._secrets(call) if call.lines.kept else ()),
        )
        if recorded is None:
            raise self._suspend(Release())
        # PostgreSQL orders the keys of objects its own way, and a body that iterates must see the same order each time.
        return recalled if recorded == output else call.step.result.read(recorded)

    def _check_session(self, call: Call) -> None:
        """See that what comes next would be committed, on a session without what the step has set on it."""
        session = self.journal.session
        if call.step.atomic:
            session.check_transaction(call.key, call.depth)
            return
        session.refuse_open_transaction(
            f"Step {call.key!r} began a database transaction and did not end it. Use transaction.atomic()."
        )
        session.restore()

    def _secrets(self, call: Call) -> list[str]:
        """What must not be kept of what a step says: the secrets that it and its task were given."""
        return secrets_at(self.journal, call.step, self.arguments.get(call.key))

    def _failure(self, call: Call, error: BaseException) -> BaseException:
        """What the body shall see of a failed try: StepFailed if it was the last one, else the pause until the next."""
        if self.lease.parallel_step:
            self.journal.session.mend()  # the secrets may have to be read
        secrets = self._secrets(call)
        failed = describe(
            error,
            elapsed=call.elapsed,
            key=call.key,
            name=call.step.name,
            arguments=self.arguments.get(call.key),
            secrets=secrets,
            logs=call.lines.written(secrets),
        )
        self.turns.heed(call.step, call.key, failed.arguments, error)
        failures = (call.entry.failures if call.entry else 0) + 1
        wait = judge(error, call.step.retry, failures=failures)
        if wait is not None and self.suspended is None:
            return self._suspend(RetryLater(failed, wait))
        status = StepStatus.FAILED if wait is None else StepStatus.RETRYING
        if not self.journal.record_failed_step(failed, status=status):
            return self._suspend(Release())
        if wait is None:
            return StepFailed(call.key, failed.error_type, failed.message)
        # A sibling that ran beside this step pauses the task already: both are tried again, when both may be.
        if isinstance(self.suspended, RetryLater | Blocked):
            self.suspended = replace(self.suspended, wait=max(self.suspended.wait, wait))
        return Suspended(self.suspended or Release())

    def _suspend(self, outcome: RetryLater | Release | Paused | Blocked | Failed) -> Suspended:
        """Note that the task pauses, and make the exception that unwinds its body."""
        if isinstance(self.suspended, Blocked) and isinstance(outcome, Blocked):
            self.suspended = self.suspended.beside(outcome)
        self.suspended = self.suspended or outcome
        return Suspended(self.suspended)
