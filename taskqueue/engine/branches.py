"""Branches: a worker executes one step for a task whose body waits for it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync

from taskqueue.definitions import StepDefinition, registry
from taskqueue.engine.failures import describe, is_of_the_author, judge
from taskqueue.engine.outcomes import Failed, Outcome, Succeeded, Suspended, TryAgain
from taskqueue.engine.sights import secrets_at
from taskqueue.errors import StepFailed

if TYPE_CHECKING:
    from taskqueue.engine.execution import Execution


def run(execution: Execution) -> Outcome:
    """Call the step with the arguments that its body gave it, under its own retries and timeout."""
    lease, began = execution.lease, time.monotonic()
    try:
        call(execution, registry.step(lease.branch))
    except Suspended as pause:
        return pause.outcome
    except StepFailed as failed:
        return Failed(failed.step, failed.error_type, failed.message)
    except BaseException as error:
        if not is_of_the_author(error):
            raise
        # The code has no such step, or its arguments no longer fit: another worker may have the code that has.
        elapsed = timedelta(seconds=time.monotonic() - began)
        execution.journal.session.mend()
        described = describe(error, elapsed=elapsed, secrets=secrets_at(execution.journal))
        wait = judge(error, registry.get(lease.pipeline).retry, failures=lease.failures + 1)
        if wait is not None:
            return TryAgain(described, wait)
        return Failed("", described.error_type, described.message, described)
    return Succeeded(execution.journal.entries[lease.parent_key].output or "null")


def call(execution: Execution, step: StepDefinition) -> None:
    """Call it, or recall what it returned before its worker was lost."""
    args, kwargs = step.arguments.read(execution.lease.payload)
    key = execution.lease.parent_key
    if not step.is_async:
        execution.call(step, key, args, kwargs)
        return

    async def awaited() -> Any:
        return await execution.acall(step, key, args, kwargs)

    async_to_sync(awaited)()
