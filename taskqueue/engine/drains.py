"""Drains: the loop of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from taskqueue.context import Stopping
from taskqueue.engine import duty
from taskqueue.engine.activity import Activity
from taskqueue.engine.claims import Lease, claim
from taskqueue.engine.execution import perform
from taskqueue.engine.outcomes import Outcome
from taskqueue.engine.settlement import settle

Settled = Callable[[Lease, Outcome, timedelta], None]
"""Told of each execution after its outcome was written: the lease, the outcome, and how long it took."""


class Member(Protocol):
    """A worker as its drains see it: `liveness.Heart`, or what stands for it in a test."""

    @property
    def worker(self) -> int:
        """Its row. Another one than before, when it had been taken for dead."""
        ...

    @property
    def activity(self) -> Activity:
        """Where it tells its heartbeat what it does."""
        ...


def drain(member: Member, *, budget: timedelta, stopping: Stopping, settled: Settled | None = None) -> int:
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
            the caller must end this worker's row (`liveness.Heart.renew`), which gives back what it holds.
    """
    deadline = time.monotonic() + budget.total_seconds()
    executions = 0
    duty.attend(limit=1)
    lease = claim(member.worker) if not stopping() else None
    while lease is not None:
        began = time.monotonic()
        outcome = perform(lease, activity=member.activity, stopping=stopping)
        more = time.monotonic() < deadline and not stopping()
        following = settle(lease, outcome, claimant=member.worker if more else None)
        if settled is not None:
            settled(lease, outcome, timedelta(seconds=time.monotonic() - began))
        executions += 1
        lease = following
    return executions
