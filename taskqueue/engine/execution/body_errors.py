"""Errors that a pipeline's body lets pass: what they make of its task."""

from __future__ import annotations

from datetime import timedelta

from taskqueue import masks
from taskqueue.definitions import PipelineDefinition, fingerprint
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.memoized import step_failure_in
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.runtime.failures import describe, judge
from taskqueue.engine.runtime.outcomes import Failed, RetryLater


def ended_by(
    error: BaseException, definition: PipelineDefinition, journal: Journal, elapsed: timedelta
) -> Failed | RetryLater:
    """The outcome of a body that raised: a failed step fails the task, the body's retries judge any other error."""
    journal.session.mend()
    secrets = secrets_at(journal)
    if (step_failed := step_failure_in(error)) is not None:
        # A child has its own secrets, and what it was given of this task's may not be among them.
        message = masks.hidden(step_failed.message, secrets)
        return Failed(step_failed.step, step_failed.error_type, message, code=fingerprint(definition))
    failed = describe(error, elapsed=elapsed, secrets=secrets)
    wait = judge(error, definition.retry, failures=journal.lease.failures + 1)
    if wait is not None:
        return RetryLater(failed, wait)
    return Failed("", failed.error_type, failed.message, failed, fingerprint(definition))
