"""The worker loop: claim, execute, settle."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from taskqueue.context import ShouldStop
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import notify_now
from taskqueue.engine.runtime.outcomes import Outcome, Release
from taskqueue.engine.worker.first_claim import first_claim
from taskqueue.engine.worker.held_ends import hold, settle_with_held, write_held
from taskqueue.engine.worker.pace import Pace
from taskqueue.engine.worker.session import WorkerSession

OnExecution = Callable[[Lease, Outcome, timedelta], None]
"""Called after the outcome of an execution is written or held, with the lease, the outcome and the duration."""

STALE = 2.0
"""Seconds after which a prefetched task goes back to the queue."""


def run_until_idle(
    session: WorkerSession,
    *,
    budget: timedelta,
    stopping: ShouldStop,
    on_execution: OnExecution = lambda *_: None,
    is_needed: Callable[[], bool] = lambda: True,
    after_first_claim: Callable[[], None] = lambda: None,
) -> int:
    """Claim and execute tasks until none is ready, the budget is used up, or the worker is to stop. Returns how many.

    Args:
        session: the worker.
        budget: no task is claimed after this time; `stopping` is called before each claim and between steps.
        on_execution, after_first_claim: called after each execution, and after the first claim.
        is_needed: asked after some tiny tasks in a row whether it claims more; if not, another thread does.

    Raises:
        django.db.Error, DatabaseLost: the database failed. What was written is unknown, so the caller must end this row
            (`heartbeat.Heartbeat.renew`). The task is still `activity.unsettled_lease`.
    """
    deadline, pace, executions = time.monotonic() + budget.total_seconds(), Pace(session, is_needed), 0
    prefetched, held = session.activity.prefetched, session.activity.held_ends
    prefetched.extend(first_claim(session, stopping, after_claim=after_first_claim))
    while (lease := next_of(prefetched)) is not None:
        session.activity.set_unsettled(lease)
        outcome, duration = execute(lease, session, stopping)
        pace.note(None if isinstance(outcome, Release) else duration)
        may_claim = time.monotonic() < deadline and not stopping()
        claim_request = pace.request_after(lease) if may_claim else None
        if not (prefetched and pace.is_short and hold(held, lease, outcome)):
            outcome, leases = settle_with_held(held, lease, outcome, claim_request)
            prefetched.extend(leases)
        session.activity.set_unsettled(None)
        on_execution(lease, outcome, timedelta(seconds=duration))
        executions += 1
    write_held(held)  # the heartbeat has released the tasks that were to be executed before
    if time.monotonic() >= deadline and not stopping():
        notify_now()  # tasks may be left: another worker should not wait for the notifier's next poll
    return executions


def execute(lease: Lease, session: WorkerSession, stopping: ShouldStop) -> tuple[Outcome, float]:
    """Execute a claimed task, or release one whose lease may be over. Returns the outcome, and how long it took."""
    started_at = time.monotonic()
    if not is_fresh(lease, session):
        return Release(), 0.0
    outcome = execute_task(lease, activity=session.activity, stopping=stopping)
    return outcome, time.monotonic() - started_at


def next_of(prefetched: deque[Lease]) -> Lease | None:
    """The next claimed task, unless the heartbeat thread has released it."""
    try:
        return prefetched.popleft()
    except IndexError:
        return None


def is_fresh(lease: Lease, session: WorkerSession) -> bool:
    """Whether the lease may still be valid; not if this process was stopped since the claim, or presumed dead."""
    return lease.worker == session.worker and time.monotonic() - lease.claimed_at < STALE
