"""Call a step: replay a recorded one, else run it and record what it returned. Async: `async_step_calls`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

from taskqueue import context
from taskqueue.definitions import StepDefinition
from taskqueue.engine.author_code.body_end import ends_with_this_call
from taskqueue.engine.author_code.soft_timeouts import sync_alarm
from taskqueue.engine.execution.recorder import checkpoint, write_arguments
from taskqueue.engine.execution.replay import Call, Memoized, begin_call
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.execution.step_admission import AdmissionControl
from taskqueue.engine.execution.step_failures import run_commit_hooks, step_failure
from taskqueue.engine.runtime.failures import is_author_error
from taskqueue.engine.runtime.forks import exit_if_forked
from taskqueue.engine.tracing import step_span


class StepCaller:
    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.admission = AdmissionControl(execution.journal)

    def call(self, step: StepDefinition, explicit_key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a plain step's recorded result, or call it and record what it returns.

        Raises:
            StepFailed: its retries are used up, now or in an earlier execution.
            Suspended: the task suspends here.
        """
        # Not for an atomic step, whose record is its transaction's, nor for a step with a slot, which the next one may
        # wait for. Nor if the end waits for a lock: of a parallel step's parent, unless it passes its slot on.
        lease = self.execution.lease
        can_be_held = not (step.atomic or self.admission.applies_to(step))
        if lease.parallel_step:
            ends_body = can_be_held and lease.parallel_limit is not None and explicit_key == lease.parent_key
        else:
            ends_body = can_be_held and ends_with_this_call(sys._getframe(1))
        key = self.execution.step_key(step.name, explicit_key)
        return self._call(step, key, args, kwargs, ends_body=ends_body)

    def _call(
        self, step: StepDefinition, key: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, ends_body: bool = False
    ) -> Any:
        call = begin_call(self.execution, step, key, args, kwargs)
        if isinstance(call, Memoized):
            return call.value
        call.ends_body = ends_body
        journal = self.execution.journal
        journal.refuse_open_transaction(
            f"Step {key!r} was called inside a database transaction of the pipeline's body, which would delay "
            "its checkpoint. Begin transactions inside steps."
        )
        journal.session.begin_step()
        try:
            with self._running(call):
                write_arguments(call)
                if self.admission.applies_to(step):
                    self._admit(call)
                value = self._run_and_record(call)
                run_commit_hooks(self.execution, call)
        except BaseException as error:
            exit_if_forked(self.execution.pid)
            if not is_author_error(error):
                raise
            raise self._failure(call, error) from error
        finally:
            self.admission.release(key)
        return value

    def _admit(self, call: Call) -> None:
        """Acquire the step's slot and the time that its rate limit gives it, or suspend the task until it has both."""
        admission = self.admission.acquire(call)
        if not isinstance(admission, timedelta):
            raise self.execution.suspend(admission)
        call.started = time.monotonic() + admission.total_seconds()
        if admission:
            time.sleep(admission.total_seconds())

    def _run_and_record(self, call: Call) -> Any:
        session = self.execution.journal.session
        # For step.atomic the author's writes and the checkpoint are one transaction: both happen, or neither.
        span = step_span(call.key, call.step.name, attempt=call.failures + 1)
        with span, session.atomic() if call.step.atomic else nullcontext():
            call.depth = len(session.django.savepoint_ids)
            with sync_alarm(call.key, call.step.timeout, cancel_queries=session.cancel_queries):
                value = call.step.active_function(*call.args, **call.kwargs)
            exit_if_forked(self.execution.pid)
            return checkpoint(self.execution, call, value)

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
        return step_failure(self.execution, call, error)
