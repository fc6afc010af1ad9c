"""Chores: what has to be done although nobody calls, besides dead workers.

Each is a sweep that several processes may do at once, and that finds nothing to do a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress

from django.db import InternalError, connection, transaction

from taskqueue.engine import sql
from taskqueue.engine.events.route import route_unrouted, start_deferred
from taskqueue.engine.execution.slots import grant_all
from taskqueue.engine.maintenance.bulk_operations import run_batches
from taskqueue.engine.maintenance.cron import enqueue_due
from taskqueue.engine.maintenance.deadlines import cancel_overdue
from taskqueue.engine.maintenance.retention import prune_some
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.engine.runtime.database_errors import AWAY
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.locks import PATIENCE, attempted
from taskqueue.engine.tasks.completion import notify_pending_completions

PROMOTIONS_AT_ONCE = 20
"""A million timers that fall due together must not keep a doorbell from ringing; it is back in a moment."""


def run_sweeps() -> int:
    """Do all of them; how many tasks are ready now that were not.

    One that fails is logged and does not keep the others from being done, nor timers and claims from going on. None of
    them waits for long: a transaction that somebody leaves open must not stop a doorbell.

    Raises:
        django.db.OperationalError, django.db.InterfaceError: the database is away.
    """
    ((former,),) = sql.fetch(sql.PATIENCE, {"patience": PATIENCE})
    try:
        return sum(done(chore) for chore in CHORES)
    finally:
        with suppress(*AWAY, InternalError):
            sql.fetch(sql.PATIENCE, {"patience": former})


def done(chore: Callable[[], int]) -> int:
    """Do one of them; none was made ready by one that failed."""

    def do() -> int:
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            return chore()

    return attempted(do, f"The sweep {chore.__name__}", slow="took too long", broken="failed")


def advance_round_robin() -> int:
    """Find a key that has room behind the full ones that claims look at; in how many pipelines there is one."""
    return sum(has_room for (has_room,) in sql.fetch(sql.WALK_ON, {**deployed_pipelines(), "passed": []}))


def promote() -> int:
    """Queue what has fallen due; how many tasks."""
    queued = 0
    for _ in range(PROMOTIONS_AT_ONCE):
        promoted = len(sql.fetch(sql.PROMOTE, {}))
        queued += promoted
        if promoted < sql.PROMOTED_AT_ONCE:
            break
    return queued


CHORES: tuple[Callable[[], int], ...] = (
    cancel_overdue,
    promote,
    advance_round_robin,
    enqueue_due,
    grant_all,
    route_unrouted,
    start_deferred,
    notify_pending_completions,
    prune_some,
    run_batches,
)
"""Each returns how many tasks it has made ready. What is short and has its time comes first; what is too late to start
goes before it is taken for due."""


def run_low_priority() -> None:
    """Do what may wait for a few seconds, and is done by doorbells alone: no worker is kept from its tasks by it.

    Raises:
        django.db.OperationalError, django.db.InterfaceError: the database is away.
    """
    for chore in AT_LEISURE:
        done(chore)


AT_LEISURE: tuple[Callable[[], int], ...] = (roll_up,)
