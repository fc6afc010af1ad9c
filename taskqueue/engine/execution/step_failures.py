"""The failed attempt of a step: record it, and decide between a retry and the end."""

from __future__ import annotations

from dataclasses import replace

from taskqueue.engine.execution.replay import Call
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import describe, is_author_error, retry_wait
from taskqueue.engine.runtime.forks import exit_if_forked
from taskqueue.engine.runtime.outcomes import Blocked, FailedAttempt, Move, Release, RetryLater, Suspended
from taskqueue.errors import StepFailed
from taskqueue.states import StepStatus


def step_failure(execution: Execution, call: Call, error: BaseException) -> BaseException:
    """The exception that the body gets: StepFailed after the last attempt, else Suspended until the next one."""
    journal = execution.journal
    if execution.lease.parallel_step or execution.activity.chunks:
        journal.session.mend()  # the parent's secrets may have to be read, and chunks to be added
    execution.activity.chunks.flush(journal.write)
    failed = failed_attempt(execution, call, error)
    wait = retry_wait(error, call.step.retry, failures=call.failures + 1)
    if wait is not None and isinstance(execution.suspended, Move | None):
        return execution.suspend(RetryLater(failed, wait))
    status = StepStatus.FAILED if wait is None else StepStatus.RETRYING
    if not journal.record_failed_step(failed, status=status):
        return execution.suspend(Release())
    if wait is None:
        return StepFailed(call.key, failed.error_type, failed.message)
    # Another step of the body suspends the task already. Both go on when both may.
    if isinstance(suspended := execution.suspended, RetryLater | Blocked):
        execution.suspended = replace(suspended, wait=max(suspended.wait, wait))
    return Suspended(execution.suspended or Release())


def run_commit_hooks(execution: Execution, call: Call) -> None:
    """Call what an atomic step gave to `on_commit`. The step is committed: an error is only recorded."""
    journal = execution.journal
    for hook in journal.session.take_hooks():
        try:
            hook()
        except BaseException as error:
            exit_if_forked(execution.pid)
            if not is_author_error(error):
                raise
            journal.record_failed_hook(replace(failed_attempt(execution, call, error), arguments=None, logs=None))
        journal.session.mend()


def failed_attempt(execution: Execution, call: Call, error: BaseException) -> FailedAttempt:
    secrets = secrets_at(execution.journal, call.step, call.arguments)
    return describe(
        error,
        elapsed=call.elapsed,
        key=call.key,
        name=call.step.name,
        arguments=call.arguments,
        secrets=secrets,
        logs=call.lines.to_json(secrets),
    )
