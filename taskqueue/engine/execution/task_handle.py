"""The task's handle: what `current_task()` gives to author code."""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from taskqueue import codec, context
from taskqueue.engine.execution import log_capture
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.failures import message_of

logger = logging.getLogger("taskqueue.workers")


class TaskHandle:
    """What author code may know and say of the task that it runs for."""

    def __init__(self, journal: Journal, activity: Activity) -> None:
        self.lease = journal.lease
        self.journal = journal
        self.activity = activity

    @property
    def id(self) -> UUID:
        """The task's id; in a parallel step that of the task whose step it is."""
        return self.lease.parent if self.lease.parallel_step and self.lease.parent else self.lease.task

    @property
    def pipeline(self) -> str:
        """The name of its pipeline."""
        return self.lease.pipeline

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return self.lease.key

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.lease.labels

    @property
    def attempt(self) -> int:
        """Which try this is, of the step that asks or of the body."""
        step = context.current_step.get()
        entry = self.journal.entries.get(step) if step else None
        return (entry.failures if entry else 0 if step else self.lease.failures) + 1

    @property
    def scheduled_for(self) -> datetime | None:
        """The tick of the clock that it is for."""
        return self.lease.cron_at

    @property
    def cancelled(self) -> bool:
        """Whether the heart has found the lease gone."""
        return self.activity.lost is self.lease

    @property
    def logger(self) -> logging.Logger:
        """One for authors' words."""
        return log_capture.AUTHORS

    def progress(self, fraction: float, note: str = "") -> None:
        """Report progress; the heartbeat writes the latest of it. Never fails the work: it says what it cannot take."""
        try:
            number = float(fraction)
            if number != number:
                raise ValueError("it is not a number")  # noqa: TRY301
            if not 0 <= number <= 1:
                logger.warning("Progress is a number from 0 to 1, not %s", number)
            self.activity.progress = (self.lease, min(max(number, 0.0), 1.0), codec.printable(str(note)[:200]))
        except Exception as error:  # noqa: BLE001 - the author's value may raise anything from its own methods
            logger.warning("A report of progress was left out: %s", message_of(error))
