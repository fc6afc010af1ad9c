"""Duty: what has to happen although nobody calls, done by every doorbell and at the start of every drain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from taskqueue.engine import sql
from taskqueue.engine.maintenance.recovery import GONE, recover
from taskqueue.engine.maintenance.sweeps import run_sweeps
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.liveness import LOCK_SPACE, SETTLING, SILENCE


@dataclass(frozen=True)
class Duty:
    """What there is to do.

    Attributes:
        claimable: how many of the pipelines that this process's code knows have queued tasks, counted up to the limit
            asked for: at least so many tasks could be claimed.
        next_due_in: until the next task on a timer falls due, zero when it has; None when there is none.
        dead: workers that have died and still have a row.
        changed: whether something was queued just now.
        chores: whether a deadline has passed, an end or an event has to be told, a task waits for a step's turn, or
            history is due to be pruned.
    """

    claimable: int
    next_due_in: timedelta | None
    dead: tuple[int, ...] = ()
    changed: bool = False
    chores: bool = False


def run_due(limit: int) -> Duty:
    """Queue what has fallen due and what dead workers held, then tell how much could be claimed, up to a limit."""
    duty = look(limit)
    if not duty.dead and not duty.chores and duty.next_due_in != timedelta(0):
        return duty
    queued = sum(recover(worker, reason=GONE) for worker in duty.dead)
    queued += run_sweeps()
    return replace(look(limit), changed=queued > 0)


def look(limit: int) -> Duty:
    """The same without doing anything about it: one round trip."""
    values = {**deployed_pipelines(), "passed": [], "limit": limit, "lock_space": LOCK_SPACE}
    rows = sql.fetch(sql.LOOK, {**values, "silence": SILENCE, "settling": SETTLING})
    claimable, seconds, chores, dead = rows[0]
    due_in = None if seconds is None else timedelta(seconds=max(seconds, 0.0))
    return Duty(claimable, due_in, tuple(dead), chores=chores)
