"""Execute a parallel step: a task of its own that calls one step of its parent's body."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync

from taskqueue.definitions import registry
from taskqueue.engine.execution.async_step_calls import AsyncStepCaller
from taskqueue.engine.execution.body_failures import failure
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import is_author_error
from taskqueue.engine.runtime.outcomes import Failed, Outcome, Succeeded, Suspended
from taskqueue.errors import StepFailed


def run_parallel_step(execution: Execution, steps: AsyncStepCaller) -> Outcome:
    """Call one step with the arguments that its parent's body gave it, under the step's own retries and timeout."""
    lease, started = execution.lease, time.monotonic()
    try:
        step = registry.step(lease.parallel_step)
        args, kwargs = step.arguments.read(lease.payload)
        call = async_to_sync(partial(await_step, steps)) if step.is_async else steps.call
        call(step, lease.parent_key, args, kwargs)
    except Suspended as suspended:
        return suspended.outcome
    except StepFailed as failed:
        return Failed(failed.step, failed.error_type, failed.message)
    except BaseException as error:
        if not is_author_error(error):
            raise
        # The code has no such step, or its arguments no longer fit: another worker may have the right code.
        return failure(error, execution.journal, registry.get(lease.pipeline).retry, started)
    return Succeeded(execution.journal.entries[lease.parent_key].output or "null")


async def await_step(steps: AsyncStepCaller, *call: Any) -> Any:
    return await steps.acall(*call)
