"""Branches: a worker executes one step for a task whose body waits for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync

from taskqueue.definitions import registry
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.runtime.failures import describe, is_of_the_author, judge
from taskqueue.engine.runtime.outcomes import Failed, Outcome, RetryLater, Succeeded, Suspended
from taskqueue.errors import StepFailed


def run(journal: Journal, call: Callable[..., Any], acall: Callable[..., Awaitable[Any]]) -> Outcome:
    """Call the step with the arguments that its body gave it, under its own retries and timeout.

    Args:
        journal: of the parallel step.
        call: calls a plain step, or recalls what it returned before its worker was lost.
        acall: awaits an async one likewise.
    """
    lease, began = journal.lease, time.monotonic()
    try:
        step = registry.step(lease.parallel_step)
        args, kwargs = step.arguments.read(lease.payload)
        (async_to_sync(awaited(acall)) if step.is_async else call)(step, lease.parent_key, args, kwargs)
    except Suspended as pause:
        return pause.outcome
    except StepFailed as failed:
        return Failed(failed.step, failed.error_type, failed.message)
    except BaseException as error:
        if not is_of_the_author(error):
            raise
        # The code has no such step, or its arguments no longer fit: another worker may have the code that has.
        elapsed = timedelta(seconds=time.monotonic() - began)
        journal.session.mend()
        described = describe(error, elapsed=elapsed, secrets=secrets_at(journal))
        wait = judge(error, registry.get(lease.pipeline).retry, failures=lease.failures + 1)
        if wait is not None:
            return RetryLater(described, wait)
        return Failed("", described.error_type, described.message, described)
    return Succeeded(journal.entries[lease.parent_key].output or "null")


def awaited(function: Callable[..., Awaitable[Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The function as `async def`, which it has to be to run in an event loop of its own."""

    async def call(*args: Any) -> Any:
        return await function(*args)

    return call
