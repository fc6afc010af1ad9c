"""Reports on a long step: what it has logged so far and where its code stands, for the task's page.

The heartbeat writes them. A step shorter than `REPORT_EVERY` costs nothing. A report names its lease, and is void once
the attempt has ended: then the attempt's own record has the log.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from taskqueue import masks
from taskqueue.definitions import registry
from taskqueue.engine.author_code.log_capture import LogLines
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.execution.secrets import definition_of, secrets_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.errors import TaskqueueError

REPORT_EVERY: Final = 2.0
STACK_MAX_LENGTH: Final = 16_000
"""Characters; the innermost frames are kept."""


class Reporter:
    """Makes a report when there is something new about the current step."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._reported_at = time.monotonic()
        self._last_report: dict[str, Any] = {}

    def next_report(self) -> dict[str, Any] | None:
        """Values for `sql.REPORT_STEP`; None when the step is still short, or nothing has changed."""
        work, now = self._activity.current, time.monotonic()
        if work.lease is None or not work.step or now - max(work.since, self._reported_at) < REPORT_EVERY:
            return None
        self._reported_at = now
        report = report_on(work, work.lease, self._activity)
        if report == self._last_report:
            return None
        self._last_report = report
        return report


def report_on(work: CurrentWork, lease: Lease, activity: Activity) -> dict[str, Any]:
    stack = activity.stack(work)[-STACK_MAX_LENGTH:]
    lines, logs = activity.lines.get(work.step), None
    if lines is not None and lines.records and (secrets := known_secrets(work, lease, lines)) is not None:
        logs, stack = lines.snapshot(secrets), masks.hidden(stack, secrets)
    return {**lease.fence, "step": work.step, "logs": logs, "stack": stack}


def known_secrets(work: CurrentWork, lease: Lease, lines: LogLines) -> list[str] | None:
    """What must not show in the report; None when that cannot be known without a query.

    The secrets of a parallel step's parent are in the database, and the working thread owns the connection to it.
    """
    with suppress(TaskqueueError, ValueError):
        if lease.parallel_step and registry.get(lease.pipeline).body_for(lease.version).payload.has_secrets:
            return None
        own = secrets_of(work.definition, lines.arguments) if work.definition and lines.arguments else []
        return [*secrets_of(definition_of(lease), lease.payload), *own]
    return None
