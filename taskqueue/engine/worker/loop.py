"""Drains: the loop of a worker."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from django.db import Error

from taskqueue.codec import printable
from taskqueue.context import Stopping
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.run import perform
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.database_errors import is_refusal, kind_of, line_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import ring
from taskqueue.engine.runtime.outcomes import Failed, Outcome, Release, Succeeded
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.engine.worker.settle import settle

Settled = Callable[[Lease, Outcome, timedelta], None]
"""Told of each execution after its outcome was written: the lease, the outcome, and how long it took."""


MOST_AHEAD = 8
"""Tasks that a worker claims at once when its tasks are short: one commit for all of them."""

SHORT = 0.01
"""Seconds; a task that takes longer is the last one behind which others were claimed."""

STALE = 2.0
"""Seconds after which a claimed task that was not begun goes back to the queue."""


class WorkerSession(Protocol):
    """A worker as its loop sees it: `heartbeat.Heartbeat`, or what stands for it in a test."""

    @property
    def worker(self) -> int:
        """Its row. Another one than before, when it had been taken for dead."""
        ...

    @property
    def activity(self) -> Activity:
        """Where it tells its heartbeat what it does."""
        ...


def drain(member: WorkerSession, *, budget: timedelta, stopping: Stopping, settled: Settled | None = None) -> int:
    """Claim and execute tasks until none is ready, the budget is used up, or the worker shall stop.

    Args:
        member: the worker that this process is.
        budget: no new task is claimed after so long.
        stopping: asked before each claim and between steps.
        settled: told of each execution.

    Returns:
        The number of executions.

    Raises:
        django.db.Error, DatabaseLost: the database failed. Whether the last claim or ending was written is unknown, so
            the caller must end this worker's row (`liveness.Heartbeat.renew`), which gives back what it holds. The task
            that it hit is still `activity.in_hand`.
    """
    deadline = time.monotonic() + budget.total_seconds()
    ahead, most, executions = member.activity.ahead, 1, 0
    ahead.extend(first_claim(member, stopping))
    while (lease := next_of(ahead)) is not None:
        member.activity.take(lease)
        began = time.monotonic()
        outcome = perform(lease, activity=member.activity, stopping=stopping) if is_fresh(lease, member) else Release()
        took = time.monotonic() - began
        most = min(most * 2, MOST_AHEAD) if took < SHORT else 1
        more = not ahead and time.monotonic() < deadline and not stopping()
        claim_request = ClaimRequest(member.worker, most) if more else None
        outcome, leases = settle_as_far_as_possible(lease, outcome, claim_request)
        ahead.extend(leases)
        member.activity.take(None)
        if settled is not None:
            settled(lease, outcome, timedelta(seconds=took))
        executions += 1
    if time.monotonic() >= deadline and not stopping():
        ring()  # there may be more: whoever is told of it first shall not wait for the doorbell's next look
    return executions


def settle_as_far_as_possible(
    lease: Lease, outcome: Outcome, claim_request: ClaimRequest | None
) -> tuple[Outcome, list[Lease]]:
    """Settle; a result that the database refuses for what it is makes the task fail, and is not tried for ever."""
    try:
        return outcome, settle(lease, outcome, claim_request=claim_request)
    except Error as error:
        if not isinstance(outcome, Succeeded) or not is_refusal(error):
            raise
        failed = Failed("", kind_of(error), printable(line_of(error)), code=outcome.code)
        return failed, settle(lease, failed, claim_request=claim_request)


def first_claim(member: WorkerSession, stopping: Stopping) -> list[Lease]:
    """The next task; if there is none, what has just fallen due or been lost by others."""
    if stopping():
        return []
    claim_request = ClaimRequest(member.worker)
    member.activity.ask()
    try:
        if leases := claim(claim_request):
            return leases
        return claim(claim_request) if dispatch.run_due(limit=1).changed else []
    finally:
        member.activity.rest()  # a claim that failed is not one that waits for its answer


def next_of(ahead: deque[Lease]) -> Lease | None:
    """The next claimed task, unless the heart has taken it away."""
    try:
        return ahead.popleft()
    except IndexError:
        return None


def is_fresh(lease: Lease, member: WorkerSession) -> bool:
    """Whether the lease can still be good: not if this process was stopped for a while, or taken for dead."""
    return lease.worker == member.worker and time.monotonic() - lease.claimed_at < STALE
