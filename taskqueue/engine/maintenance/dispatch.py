"""The dispatcher: run the work that is due without a caller, and tell whether tasks can be claimed.

Every notifier runs it, and every worker before it gives up on a claim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from taskqueue.engine import sql
from taskqueue.engine.maintenance.recovery import NO_HEARTBEAT, recover
from taskqueue.engine.maintenance.sweeps import run_sweeps
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT, LOCK_SPACE, STARTUP_GRACE
from taskqueue.engine.runtime.notify import notify_now
from taskqueue.engine.runtime.taken_queues import queue_parameters, taken_queues
from taskqueue.queues import TakenQueues


@dataclass(frozen=True)
class DueWork:
    """The work that is due now.

    Attributes:
        claimable: how many pipelines of this process's code and queues have tasks to claim, counted up to a limit. At
            least so many tasks can be claimed.
        next_due_in: the time until the next timer, zero when one is due; None without timers.
        dead_workers: the ids of dead workers that are not recovered yet.
        queued: whether tasks were queued just now.
        sweeps_due: whether a sweep has work: a deadline, a completion, an event to route, and so on.
    """

    claimable: int
    next_due_in: timedelta | None
    dead_workers: tuple[int, ...] = ()
    queued: bool = False
    sweeps_due: bool = False


def run_due(limit: int, queues: TakenQueues | None = None) -> DueWork:
    """Recover dead workers and run the sweeps if any work is due; then count what can be claimed, up to a limit.

    Args:
        limit: the largest number to count.
        queues: those in which to count; None for all that this process takes.
    """
    due = find_due_work(limit, queues)
    if not due.dead_workers and not due.sweeps_due and due.next_due_in != timedelta(0):
        return due
    queued = sum(recover(worker, reason=NO_HEARTBEAT) for worker in due.dead_workers)
    queued += run_sweeps()
    if queued and not taken_queues().takes_all:
        notify_now()  # some of them may be for workers of other commands
    return replace(find_due_work(limit, queues), queued=queued > 0)


def find_due_work(limit: int, queues: TakenQueues | None = None) -> DueWork:
    """Find the work that is due, in one round trip, and change nothing."""
    process = {**deployed_pipelines(), **queue_parameters(queues)}
    values = {**process, "skipped": [], "limit": limit, "lock_space": LOCK_SPACE}
    rows = sql.fetch(
        sql.FIND_DUE_WORK, {**values, "heartbeat_timeout": HEARTBEAT_TIMEOUT, "startup_grace": STARTUP_GRACE}
    )
    claimable, seconds, sweeps_due, dead_workers = rows[0]
    due_in = None if seconds is None else timedelta(seconds=max(seconds, 0.0))
    return DueWork(claimable, due_in, tuple(dead_workers), sweeps_due=sweeps_due)
