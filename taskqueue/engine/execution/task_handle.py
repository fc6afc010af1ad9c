"""The author's handle of a running task: `current_task()`, and what the authoring objects ask of the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from taskqueue import context
from taskqueue.definitions import NAME_MAX_LENGTH
from taskqueue.engine.author_code import log_capture
from taskqueue.engine.author_code.chunks import written_text
from taskqueue.engine.execution.async_step_calls import AsyncStepCaller
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.outcomes import Release, Waiting
from taskqueue.engine.tasks import children
from taskqueue.engine.tracing import current_traceparent
from taskqueue.json_values import codec

logger = logging.getLogger("taskqueue.workers")


class TaskHandle:
    """The `context.RunningTask` that author code runs for."""

    def __init__(self, execution: Execution, steps: AsyncStepCaller) -> None:
        self.execution = execution
        self.call = steps.call
        self.acall = steps.acall
        self.lease = execution.lease
        self.journal = execution.journal

    @property
    def id(self) -> UUID:
        """In a parallel step that of the parent task."""
        return self.lease.parent if self.lease.parallel_step and self.lease.parent else self.lease.task

    @property
    def pipeline(self) -> str:
        return self.lease.pipeline

    @property
    def key(self) -> str:
        return self.lease.key

    @property
    def labels(self) -> dict[str, str]:
        return self.lease.labels

    @property
    def attempt(self) -> int:
        step = context.current_step.get()
        entry = self.journal.entries.get(step) if step else None
        return (entry.failures if entry else 0 if step else self.lease.failures) + 1

    @property
    def scheduled_for(self) -> datetime | None:
        return self.lease.cron_at

    @property
    def cancelled(self) -> bool:
        return self.execution.activity.lost_lease is self.lease

    @property
    def logger(self) -> logging.Logger:
        return log_capture.TASK_LOGGER

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress; the heartbeat writes the latest report. Never fails the step: a bad value is logged."""
        try:
            number = float(fraction)
            if number != number:
                raise ValueError("it is not a number")  # noqa: TRY301
            if not 0 <= number <= 1:
                logger.warning("Progress is a number from 0 to 1, not %s", number)
            text = codec.printable(str(note)[:200])
            self.execution.activity.progress = (self.lease, min(max(number, 0.0), 1.0), text)
        except Exception as error:  # noqa: BLE001 - the author's value may raise anything from its own methods
            logger.warning("A report of progress was left out: %s", message_of(error))

    def write(self, text: str) -> None:
        """Keep the text for the next batch. Raises InvalidContext, TypeError."""
        key, activity = context.current_step.get(), self.execution.activity
        definition = work.definition if (work := activity.steps.get(key)) else None
        written = written_text(text, self.lease, key, definition, target=self.id, attempt=self.attempt)
        activity.chunks.write(written)

    def suspend(self, pauses: Sequence[context.Suspension]) -> list[context.Resolution]:
        """Return the results of sleeps, waits, parallel steps and children, in order, once all of them are over.

        Raises:
            Suspended: the task waits until then.
        """
        execution, entries = self.execution, self.journal.entries
        requested = [replace(each, key=execution.step_key(each.name, each.explicit_key)) for each in pauses]
        execution.check()
        if (drifted := execution.drift.of_pauses(requested)) is not None:
            raise execution.suspend(drifted)
        recorded = [entry for each in requested if (entry := entries.get(each.key)) is not None]
        if len(recorded) < len(requested) or any(each.is_unfinished for each in recorded):
            children.check_depth(self.lease, requested)
            self.journal.check_output_limit(requested)
            waiting = Waiting(tuple(requested), self.journal.output_bytes, current_traceparent())
            raise execution.suspend(waiting)
        return [
            context.Resolution(each.key, entry.output, entry.error)
            for each, entry in zip(requested, recorded, strict=True)
        ]

    def emit(self, event: str, data: str) -> None:
        """Send an event whose data is this JSON, once, even if the body runs again.

        Raises:
            Suspended: the lease is gone.
        """
        key = self.execution.step_key(f"emit {event}"[:NAME_MAX_LENGTH], "")
        self.execution.check()
        if key not in self.journal.entries and not self.journal.emit(key, event, data):
            raise self.execution.suspend(Release())
