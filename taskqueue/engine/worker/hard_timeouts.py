"""Hard ends: a step that goes on after its timeout, or for a task that is cancelled, ends together with its process."""

from __future__ import annotations

import faulthandler
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import Error, transaction

from taskqueue.conf import settings
from taskqueue.definitions import StepDefinition
from taskqueue.engine import sql
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.execution.journal import failed_try
from taskqueue.engine.runtime.failures import describe, judge
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import FailedAttempt, Release, RetryLater
from taskqueue.engine.runtime.stacks import own_file, stack_of_the_author
from taskqueue.engine.worker.settle import settle
from taskqueue.errors import StepTimedOut
from taskqueue.states import AttemptOutcome, StepStatus

logger = logging.getLogger("taskqueue.workers")

MARGIN: Final = timedelta(seconds=5)
"""How much later the process is ended from C when its heart cannot do it, because a call holds the interpreter."""

PATIENCE: Final = "1s"
"""So long it waits for a lock on the task's row."""

EXIT_CODE: Final = 70


class HardEnd:
    """The heart's eye on the step in hand: when it may go on no longer, that is written, and this process ends.

    The pool starts another one. The step itself learns of neither: it was told before, by an exception or by
    `current_task().cancelled`.
    """

    def __init__(self, activity: Activity, *, end: Callable[[int], None] = os._exit) -> None:
        self._activity = activity
        self._end = end
        self._lost: tuple[Lease, float] | None = None

    def look(self) -> None:
        """End the process if the time of what it does is over. In the thread of the heart."""
        for doing in list(self._activity.steps.values()):
            lease, step = doing.lease, doing.definition
            if lease is None or step is None:
                continue
            if is_overdue(doing):
                self._stop(doing, lease, partial(self._write_timeout, lease, doing, step))
            elif self._outlasts_its_grace(lease):
                self._stop(doing, lease, partial(self._write_stopped, lease, doing))

    def _outlasts_its_grace(self, lease: Lease) -> bool:
        """Whether its task was cancelled, and the grace to heed that is over."""
        if self._activity.lost is not lease or lease.cancel_grace is None:
            return False
        if self._lost is None or self._lost[0] is not lease:
            self._lost = (lease, time.monotonic())
        return time.monotonic() - self._lost[1] >= lease.cancel_grace.total_seconds()

    def _stop(self, doing: CurrentWork, lease: Lease, write: Callable[[str], None]) -> None:
        """Write where the step stands, and end. A database that is away now finds the task by its dead worker."""
        stack = stack_of_the_author(all_threads=doing.definition is not None and doing.definition.is_async)
        if self._activity.steps.get(doing.step) is not doing:
            return  # it has come to its end just now
        logger.error("Step %r of task %s does not end: worker %s ends with it.", doing.step, lease.task, lease.worker)
        try:
            with transaction.atomic():
                sql.fetch(sql.BOUND_LOCKS, {"patience": PATIENCE})
                write(stack)
        except Error as error:
            logger.warning("What step %r did could not be written: %s", doing.step, error)
        finally:
            self._end(EXIT_CODE)

    def _write_timeout(self, lease: Lease, doing: CurrentWork, step: StepDefinition, stack: str) -> None:
        """A failed try like any other, fenced; the step's retry policy decides what follows."""
        assert step.timeout is not None  # noqa: S101 - asked by the caller
        error = StepTimedOut(doing.step, step.timeout)
        failed = forced(describe(error, elapsed=elapsed_of(doing), key=doing.step, name=step.name), stack)
        wait = judge(error, step.retry, failures=doing.failures + 1)
        if wait is not None:
            settle(lease, RetryLater(failed, wait), claim_request=None)
            return
        # The body shall see StepFailed: it runs again, and recalls it.
        values: dict[str, Any] = failed_try(failed, step_status=StepStatus.FAILED)
        sql.fetch(sql.RECORD_FAILED_STEP, {**values, **lease.fence})
        settle(lease, Release(), claim_request=None)

    def _write_stopped(self, lease: Lease, doing: CurrentWork, stack: str) -> None:
        """For the history of the cancelled task; a parallel step has none of its own."""
        values = {"step": doing.step, "stack": stack, "elapsed": elapsed_of(doing), "outcome": AttemptOutcome.STOPPED}
        sql.fetch(sql.STOPPED, {**lease.fence, **values})


def forced(failed: FailedAttempt, stack: str) -> FailedAttempt:
    """The failed try, with the stack in which it was ended and words that say so."""
    message = f"{failed.message} It did not heed that, and its worker process was ended."
    return replace(failed, message=message, traceback=stack)


def is_overdue(doing: CurrentWork) -> bool:
    """Whether its timeout, and the grace to heed it, are over."""
    return doing.timeout is not None and elapsed_of(doing) > doing.timeout + settings().HARD_TIMEOUT_GRACE


def elapsed_of(doing: CurrentWork) -> timedelta:
    """How long it lasts."""
    return timedelta(seconds=time.monotonic() - doing.since)


def arm(left: timedelta | None) -> None:
    """Have this process ended from C when a step goes on long after its timeout, which comes after what is left.

    The heart comes first if it can run. It cannot while a call into C holds the interpreter; then faulthandler writes
    the stack, and whoever recovers the worker finds it. None: there is nothing to watch.
    """
    if left is None:
        faulthandler.cancel_dump_traceback_later()
        return
    seconds = max(left + settings().HARD_TIMEOUT_GRACE, timedelta()) + MARGIN
    faulthandler.dump_traceback_later(seconds.total_seconds(), exit=True, file=own_file())
