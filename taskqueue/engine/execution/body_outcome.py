"""What the end of a pipeline's body means: the task has succeeded, fails, is retried later, or suspends."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from taskqueue import masks
from taskqueue.conf import settings
from taskqueue.definitions import PipelineDefinition, fingerprint
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import describe, is_author_error, retry_wait
from taskqueue.engine.runtime.forks import exit_if_forked
from taskqueue.engine.runtime.outcomes import Failed, Outcome, RetryLater, Succeeded, Suspended
from taskqueue.errors import StepFailed
from taskqueue.json_values import codec
from taskqueue.policies import Retry


def succeeded(definition: PipelineDefinition, execution: Execution, value: Any) -> Succeeded:
    limit = settings().STEP_OUTPUT_MAX_BYTES
    result = definition.result.write(value, what="result")
    result = codec.within(result, limit=limit, what="The result", setting="STEP_OUTPUT_MAX_BYTES")
    execution.journal.refuse_open_transaction(
        "The pipeline's body began a database transaction and did not end it. Use transaction.atomic()."
    )
    return Succeeded(result, fingerprint(definition))


def outcome_of_error(
    error: BaseException, definition: PipelineDefinition, execution: Execution, started: float
) -> Outcome:
    """What an exception that ends the body means.

    Raises:
        DatabaseLost, django.db.Error: it is not the author's.
    """
    if isinstance(error, Suspended):
        return error.outcome
    exit_if_forked(execution.pid)
    if not is_author_error(error):
        raise error
    return body_failure(error, definition, execution.journal, started)


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
