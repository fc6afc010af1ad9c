"""The failed attempt of a pipeline's body: fail the task, or retry it later."""

from __future__ import annotations

import time
from datetime import timedelta

from taskqueue import masks
from taskqueue.definitions import PipelineDefinition, fingerprint
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.runtime.failures import describe, retry_wait
from taskqueue.engine.runtime.outcomes import Failed, RetryLater
from taskqueue.errors import StepFailed
from taskqueue.policies import Retry


def body_failure(
    error: BaseException, definition: PipelineDefinition, journal: Journal, started: float
) -> Failed | RetryLater:
    """The outcome of a body that raised: a failed step fails the task, the body's retries decide on any other error."""
    if (step_failed := step_failure_in(error)) is None:
        return failure(error, journal, definition.retry, started, code=fingerprint(definition))
    journal.session.mend()
    # A child has secrets of its own, and they may not include what this task gave it.
    message = masks.hidden(step_failed.message, secrets_at(journal))
    return Failed(step_failed.step, step_failed.error_type, message, code=fingerprint(definition))


def step_failure_in(error: BaseException) -> StepFailed | None:
    """The failed step that ends a body, also from among the errors of an `asyncio.TaskGroup`."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(step_failure_in, error.exceptions)), None)
    return error if isinstance(error, StepFailed) else None


def failure(
    error: BaseException, journal: Journal, retry: Retry, started: float, *, code: str = ""
) -> Failed | RetryLater:
    journal.session.mend()
    elapsed = timedelta(seconds=time.monotonic() - started)
    failed = describe(error, elapsed=elapsed, secrets=secrets_at(journal))
    wait = retry_wait(error, retry, failures=journal.lease.failures + 1)
    if wait is not None:
        return RetryLater(failed, wait)
    return Failed("", failed.error_type, failed.message, failed, code)
