"""Hard timeouts: end the process of a step that ignores its timeout, or the cancel of its task."""

from __future__ import annotations

import faulthandler
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Final

from django.db import Error, transaction

from taskqueue.conf import settings
from taskqueue.definitions import StepDefinition
from taskqueue.engine import sql
from taskqueue.engine.execution.activity import Activity, CurrentWork
from taskqueue.engine.execution.journal import failed_attempt_values
from taskqueue.engine.runtime.failures import describe, retry_wait
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import FailedAttempt, Release, RetryLater
from taskqueue.engine.runtime.stacks import crash_dump_file
from taskqueue.engine.worker.settle import settle
from taskqueue.errors import StepTimedOut
from taskqueue.states import AttemptOutcome, StepStatus

logger = logging.getLogger("taskqueue.workers")

MARGIN: Final = timedelta(seconds=5)
"""How much later faulthandler ends the process, if the heartbeat thread cannot: a C call holds the interpreter."""

LOCK_TIMEOUT: Final = "1s"

EXIT_CODE: Final = 70


class HardTimeouts:
    """Watches the current steps from the heartbeat thread. After a hard timeout it records the attempt and exits.

    The pool starts another process. The step was asked to stop before, by an exception or by
    `current_task().cancelled`.
    """

    def __init__(self, activity: Activity, *, end: Callable[[int], None]) -> None:
        self._activity = activity
        self._end = end
        self._lost: tuple[Lease, float] | None = None

    def check(self) -> None:
        """End the process if a step has passed its hard timeout. Runs in the heartbeat thread."""
        for work in list(self._activity.steps.values()):
            lease, step = work.lease, work.definition
            if lease is None or step is None:
                continue
            if is_overdue(work, excused=self._activity.excused):
                self._stop(work, lease, partial(self._record_timeout, lease, work, step))
            elif self._ignores_cancel(lease):
                self._stop(work, lease, partial(self._record_stopped, lease, work))

    def _ignores_cancel(self, lease: Lease) -> bool:
        """Whether the task was cancelled and its grace period is over."""
        if self._activity.lost_lease is not lease or lease.cancel_grace is None:
            return False
        if self._lost is None or self._lost[0] is not lease:
            self._lost = (lease, time.monotonic())
        return time.monotonic() - self._lost[1] >= lease.cancel_grace.total_seconds()

    def _stop(self, work: CurrentWork, lease: Lease, write: Callable[[str], None]) -> None:
        """Record the attempt and exit. When the database is away, recovery finds the task by its dead worker."""
        stack = self._activity.stack(work)
        if self._activity.steps.get(work.step) is not work:
            return  # it has ended just now
        logger.error("Step %r of task %s does not stop: worker %s is ended.", work.step, lease.task, lease.worker)
        try:
            with transaction.atomic():
                sql.fetch(sql.SET_LOCAL_LOCK_TIMEOUT, {"lock_timeout": LOCK_TIMEOUT})
                write(stack)
        except Error as error:
            logger.warning("The attempt of step %r could not be recorded: %s", work.step, error)
        finally:
            self._end(EXIT_CODE)

    def _record_timeout(self, lease: Lease, work: CurrentWork, step: StepDefinition, stack: str) -> None:
        """Record a failed attempt under the lease; the step's retry policy applies."""
        assert step.timeout is not None  # noqa: S101 - checked by the caller
        error = StepTimedOut(work.step, step.timeout)
        failed = with_stack(describe(error, elapsed=elapsed_of(work), key=work.step, name=step.name), stack)
        wait = retry_wait(error, step.retry, failures=work.failures + 1)
        if wait is not None:
            settle(lease, RetryLater(failed, wait), claim_request=None)
            return
        # The body runs again, and replays StepFailed.
        values: dict[str, Any] = failed_attempt_values(failed, step_status=StepStatus.FAILED)
        sql.fetch(sql.RECORD_FAILED_STEP, {**values, **lease.fence})
        settle(lease, Release(), claim_request=None)

    def _record_stopped(self, lease: Lease, work: CurrentWork, stack: str) -> None:
        values = {"step": work.step, "stack": stack, "elapsed": elapsed_of(work), "outcome": AttemptOutcome.STOPPED}
        sql.fetch(sql.RECORD_STOPPED_ATTEMPT, {**lease.fence, **values})


def with_stack(failed: FailedAttempt, stack: str) -> FailedAttempt:
    """The failed attempt, with the stack at the end of its process."""
    message = f"{failed.message} It ignored the timeout, and its worker process was ended."
    return replace(failed, message=message, traceback=stack)


def is_overdue(work: CurrentWork, *, excused: float = 0.0) -> bool:
    """Whether its timeout and the grace period are over, and as many seconds as it is excused for."""
    grace = settings().HARD_TIMEOUT_GRACE + timedelta(seconds=excused)
    return work.timeout is not None and elapsed_of(work) > work.timeout + grace


def elapsed_of(work: CurrentWork) -> timedelta:
    return timedelta(seconds=time.monotonic() - work.since)


class Deadline:
    """When one worker's earliest hard timeout is over. Faulthandler, which has one timer, gets the earliest of all.

    It ends this process when a step ignores its timeout and the heartbeat thread cannot run, since a C call holds the
    interpreter. Recovery reads the stack that it writes.
    """

    _lock: ClassVar = threading.Lock()
    _all: ClassVar[dict[int, float]] = {}

    def __call__(self, left: timedelta | None) -> None:
        """Set it.

        Args:
            left: the time until the earliest timeout of a step; None when no step has one.
        """
        with self._lock:
            self._all.pop(id(self), None)
            if left is not None:
                grace = max(left + settings().HARD_TIMEOUT_GRACE, timedelta()) + MARGIN
                self._all[id(self)] = time.monotonic() + grace.total_seconds()
            if not self._all:
                faulthandler.cancel_dump_traceback_later()
                return
            seconds = max(min(self._all.values()) - time.monotonic(), MARGIN.total_seconds())
            faulthandler.dump_traceback_later(seconds, exit=True, file=crash_dump_file())
