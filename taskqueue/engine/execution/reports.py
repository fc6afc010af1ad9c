"""Reports: what a step that lasts has logged so far and where its code stands, for people who look at its task.

The heart writes them, beside the thread that works. A step shorter than `REPORT_EVERY` costs nothing. Once the attempt
has ended its own record has the log, and the report means nothing: it names the lease for which it was made.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from taskqueue import masks
from taskqueue.definitions import registry
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.execution.log_capture import Lines
from taskqueue.engine.execution.secrets import definition_of, secrets_of
from taskqueue.engine.runtime.stacks import stack_of_the_author
from taskqueue.errors import TaskqueueError

REPORT_EVERY: Final = 2.0
STACK_SHOWN: Final = 16_000
"""Characters, the innermost."""


class Reporter:
    """Says what is new about the step in hand."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._looked = time.monotonic()
        self._told: dict[str, Any] = {}

    def news(self) -> dict[str, Any] | None:
        """Values for `sql.REPORT_STEP`; None when the step has not lasted, or nothing of it has changed."""
        doing, now = self._activity.doing, time.monotonic()
        if doing.lease is None or not doing.step or now - max(doing.since, self._looked) < REPORT_EVERY:
            return None
        self._looked = now
        report = report_of(doing, self._activity.lines.get(doing.step))
        if report == self._told:
            return None
        self._told = report
        return report


def report_of(doing: CurrentWork, lines: Lines | None) -> dict[str, Any]:
    """What a step has logged, and where it stands."""
    assert doing.lease is not None  # noqa: S101 - asked by the caller
    is_async = doing.definition is not None and doing.definition.is_async
    stack = stack_of_the_author(all_threads=is_async)[-STACK_SHOWN:]
    written = None
    if lines is not None and lines.kept and (secrets := secrets_in(doing, lines)) is not None:
        written, stack = lines.so_far(secrets), masks.hidden(stack, secrets)
    return {**doing.lease.fence, "step": doing.step, "logs": written, "stack": stack}


def secrets_in(doing: CurrentWork, lines: Lines) -> list[str] | None:
    """What must not be shown of what it says; None when that cannot be told without a query.

    The secrets of a parallel_step's parent are in the database, and the connection to it is the working thread's.
    """
    lease = doing.lease
    assert lease is not None  # noqa: S101 - asked by the caller
    with suppress(TaskqueueError, ValueError):
        if lease.parallel_step and registry.get(lease.pipeline).body_for(lease.version).payload.has_secrets:
            return None
        own = secrets_of(doing.definition, lines.arguments) if doing.definition and lines.arguments else []
        return [*secrets_of(definition_of(lease), lease.payload), *own]
    return None
