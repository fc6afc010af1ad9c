"""Execute a parallel step: a task of its own that calls one step of its parent's body."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync

from taskqueue.definitions import StepDefinition, registry
from taskqueue.engine.execution.async_step_calls import AsyncStepCaller
from taskqueue.engine.execution.body_outcome import failure
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import is_author_error
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Failed, Outcome, Succeeded, Suspended
from taskqueue.errors import StepFailed


def run_parallel_step(execution: Execution, steps: AsyncStepCaller) -> Outcome:
    """Call one step with the arguments that its parent's body gave it, under the step's own retries and timeout."""
    started = time.monotonic()
    try:
        step, *call = call_of(execution.lease)
        (async_to_sync(partial(await_step, steps)) if step.is_async else steps.call)(step, *call)
    except BaseException as error:  # noqa: BLE001 - judged there
        return outcome_of_error(error, execution, started)
    return succeeded(execution)


def call_of(lease: Lease) -> tuple[StepDefinition, str, Any, Any]:
    """The step that a parallel task calls, its key, and its arguments."""
    step = registry.step(lease.parallel_step)
    args, kwargs = step.arguments.read(lease.payload)
    return step, lease.parent_key, args, kwargs


async def await_step(steps: AsyncStepCaller, *call: Any) -> Any:
    return await steps.acall(*call)


def succeeded(execution: Execution) -> Succeeded:
    return Succeeded(execution.journal.entries[execution.lease.parent_key].output or "null")


def outcome_of_error(error: BaseException, execution: Execution, started: float) -> Outcome:
    """What an exception that ends the step's call means.

    Raises:
        DatabaseLost, django.db.Error: it is not the author's.
    """
    if isinstance(error, Suspended):
        return error.outcome
    if isinstance(error, StepFailed):
        return Failed(error.step, error.error_type, error.message)
    if not is_author_error(error):
        raise error
    # The code has no such step, or its arguments no longer fit: another worker may have the right code.
    return failure(error, execution.journal, registry.get(execution.lease.pipeline).retry, started)
