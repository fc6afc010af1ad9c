"""Record the arguments, the result and the failure of a step's call in the journal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from taskqueue.conf import settings
from taskqueue.definitions import StepDefinition
from taskqueue.engine.execution.replay import Call
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import describe, is_author_error, retry_wait
from taskqueue.engine.runtime.forks import exit_if_forked
from taskqueue.engine.runtime.outcomes import Blocked, FailedAttempt, Release, RetryLater, Suspended
from taskqueue.errors import FieldError, InvalidResult, NotSerializable, StepFailed
from taskqueue.json_values import codec
from taskqueue.states import StepStatus


class Recorder:
    """Writes what happens to the steps of one execution."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.journal = execution.journal

    def write_arguments(self, call: Call) -> None:
        """Keep the call's arguments as JSON, before the author's function can change them."""
        written = call.step.arguments.write(call.args, call.kwargs, what=f"arguments of step {call.key!r}")
        what, limit = f"The arguments of step {call.key!r}", settings().STEP_OUTPUT_MAX_BYTES
        codec.within(written, limit=limit, what=what, setting="STEP_OUTPUT_MAX_BYTES")
        call.arguments = call.lines.arguments = written

    def checkpoint(self, call: Call, value: object) -> Any:
        """Record what a step returned, and return it as a later execution will replay it.

        Raises:
            InvalidResult, NotSerializable, TooLarge: the value cannot be recorded.
            Suspended: the lease is gone.
        """
        self._check_session(call)
        output, replayed = serialize(call.step, call.key, value, used=self.journal.output_bytes)
        recorded = self.journal.checkpoint(
            key=call.key,
            name=call.step.name,
            arguments=call.arguments or "",
            output=output,
            elapsed=call.elapsed,
            logs=call.lines.to_json(self._secrets(call)) if call.lines.records else None,
        )
        if recorded is None:
            raise self.execution.suspend(Release())
        # PostgreSQL orders the keys of objects its own way, and a body that iterates must see one order every time.
        value = replayed if recorded == output else call.step.result.read(recorded)
        call.is_recorded = True
        return value

    def run_commit_hooks(self, call: Call) -> None:
        """Call what an atomic step gave to `on_commit`. The step is committed: an error is only recorded."""
        for hook in self.journal.session.take_hooks():
            try:
                hook()
            except BaseException as error:
                exit_if_forked(self.execution.pid)
                if not is_author_error(error):
                    raise
                self.journal.record_failed_hook(replace(self._describe(call, error), arguments=None, logs=None))
            self.journal.session.mend()

    def failure(self, call: Call, error: BaseException) -> BaseException:
        """The exception that the body gets: StepFailed after the last attempt, else Suspended until the next one."""
        if self.execution.lease.parallel_step:
            self.journal.session.mend()  # the parent's secrets may have to be read
        failed = self._describe(call, error)
        wait = retry_wait(error, call.step.retry, failures=call.failures + 1)
        if wait is not None and self.execution.suspended is None:
            return self.execution.suspend(RetryLater(failed, wait))
        status = StepStatus.FAILED if wait is None else StepStatus.RETRYING
        if not self.journal.record_failed_step(failed, status=status):
            return self.execution.suspend(Release())
        if wait is None:
            return StepFailed(call.key, failed.error_type, failed.message)
        # Another step of the body suspends the task already. Both go on when both may.
        if isinstance(suspended := self.execution.suspended, RetryLater | Blocked):
            self.execution.suspended = replace(suspended, wait=max(suspended.wait, wait))
        return Suspended(self.execution.suspended or Release())

    def _check_session(self, call: Call) -> None:
        """Refuse a step that left a transaction open or broke its own, and drop what it has set on the session."""
        session = self.journal.session
        if call.step.atomic:
            session.check_transaction(call.key, call.depth)
            return
        session.refuse_open_transaction(
            f"Step {call.key!r} began a database transaction and did not end it. Use transaction.atomic()."
        )
        session.restore()

    def _describe(self, call: Call, error: BaseException) -> FailedAttempt:
        secrets = self._secrets(call)
        return describe(
            error,
            elapsed=call.elapsed,
            key=call.key,
            name=call.step.name,
            arguments=call.arguments,
            secrets=secrets,
            logs=call.lines.to_json(secrets),
        )

    def _secrets(self, call: Call) -> list[str]:
        return secrets_at(self.journal, call.step, call.arguments)


def serialize(step: StepDefinition, key: str, value: object, *, used: int) -> tuple[str, Any]:
    """A step's output as JSON, and as a later execution will read it.

    Args:
        step: the step that returned the value.
        key: the key of its call.
        value: what it returned.
        used: bytes of the task's outputs so far.

    Raises:
        InvalidResult: it does not fit its annotation.
        NotSerializable, TooLarge: it cannot be recorded, or not be read again.
    """
    refused = f"Step {key!r} did its work, " + (
        "but its result was refused, and so its writes were rolled back."
        if step.atomic
        else "and only its result was refused."
    )
    try:
        output = step.result.write(value, what=f"output of step {key!r}")
    except ValidationError as error:
        raise InvalidResult(f"{refused} It does not fit its annotation: {error}") from error
    except NotSerializable as error:
        raise NotSerializable(f"{refused} {error.detail}", error.errors) from error
    check_size(output, key, used=used)
    try:
        # Read before it is recorded: what cannot be read again fails this attempt, not the next execution.
        return output, step.result.read(output)
    except ValidationError as error:
        detail = f"{refused} The JSON that was written of it cannot be read again: {error}"
        raise NotSerializable(detail, [FieldError("", detail)]) from error


def check_size(output: str, key: str, *, used: int) -> None:
    limits = settings()
    what = f"The output of step {key!r}"
    codec.within(output, limit=limits.STEP_OUTPUT_MAX_BYTES, what=what, setting="STEP_OUTPUT_MAX_BYTES")
    what, limit = f"The sum of this task's outputs, with that of step {key!r},", limits.TASK_OUTPUT_MAX_BYTES
    codec.within(output, used=used, limit=limit, what=what, setting="TASK_OUTPUT_MAX_BYTES")
