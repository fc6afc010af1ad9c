"""Sweeps: periodic work of the dispatcher.

Several processes may run a sweep at once, and a second run finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import timedelta

from django.db import InternalError, connection, transaction

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.alerts.evaluate import evaluate_rules
from taskqueue.engine.events.route import route_pending, start_deferred
from taskqueue.engine.execution.slots import grant_all
from taskqueue.engine.maintenance.bulk_operations import run_batches
from taskqueue.engine.maintenance.cron import enqueue_due
from taskqueue.engine.maintenance.retention import prune_some
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.engine.runtime.database_errors import CONNECTION_ERRORS
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.locks import LOCK_TIMEOUT, run_or_log
from taskqueue.engine.runtime.taken_queues import queue_parameters
from taskqueue.engine.tasks.children import cancel_tree
from taskqueue.engine.tasks.completion import notify_pending_completions

PROMOTE_BATCHES = 20
"""A million timers that are due together must not keep the dispatcher from its other work; the next sweep goes on."""


def run_sweeps() -> int:
    """Run all sweeps; how many tasks they queued.

    A sweep that fails is logged, and the others run. Locks are awaited only for a moment: a transaction that is left
    open must not stop the dispatcher.

    Raises:
        django.db.OperationalError, django.db.InterfaceError: the database is away.
    """
    ((lock_timeout,),) = sql.fetch(sql.SET_LOCK_TIMEOUT, {"lock_timeout": LOCK_TIMEOUT})
    try:
        return sum(run(sweep) for sweep in SWEEPS)
    finally:
        with suppress(*CONNECTION_ERRORS, InternalError):
            sql.fetch(sql.SET_LOCK_TIMEOUT, {"lock_timeout": lock_timeout})


def run(sweep: Callable[[], int]) -> int:
    """Run one sweep; how many tasks it queued, 0 when it failed."""

    def run_in_savepoint() -> int:
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            return sweep()

    return run_or_log(run_in_savepoint, f"The sweep {sweep.__name__}")


def cancel_overdue() -> int:
    """Cancel overdue tasks; how many. A locked task is left for the next sweep."""
    cancelled = 0
    for (task,) in sql.fetch(sql.OVERDUE_TASKS, {}):
        with transaction.atomic():
            # Read again under its lock: it may have started or ended just now.
            rows = sql.fetch(sql.LOCK_OVERDUE_TASK, {"task": task})
            for pipeline, has_started, finish_within in rows:
                cancel_tree([task], reason=overdue_reason(pipeline, finish_within, has_started=has_started))
                cancelled += 1
    return cancelled


def overdue_reason(pipeline: str, finish_within: timedelta | None, *, has_started: bool) -> str:
    if has_started:
        return f"It did not end within {finish_within}."
    start_within = registry.get(pipeline).policies.start_within if pipeline in registry.names() else None
    return f"It did not start within {start_within or 'its time'}."


def advance_round_robin() -> int:
    """Advance the round robin of pipelines whose first keys are full; how many have a key with a free slot."""
    values = {**deployed_pipelines(), **queue_parameters(), "skipped": []}
    return sum(found for (found,) in sql.fetch(sql.ADVANCE_ROUND_ROBIN, values))


def promote() -> int:
    """Queue the tasks whose timers are due; how many."""
    queued = 0
    for _ in range(PROMOTE_BATCHES):
        promoted = len(sql.fetch(sql.PROMOTE, {}))
        queued += promoted
        if promoted < sql.PROMOTE_BATCH:
            break
    return queued


SWEEPS: tuple[Callable[[], int], ...] = (
    cancel_overdue,
    promote,
    advance_round_robin,
    enqueue_due,
    grant_all,
    route_pending,
    start_deferred,
    notify_pending_completions,
    prune_some,
    run_batches,
)
"""Each returns how many tasks it queued. Short and timed work comes first. Tasks that are too late to start are
cancelled before timers queue them."""


def run_low_priority() -> None:
    """Run the sweeps that may wait for a few seconds. Only notifiers run it, so that it delays no worker.

    Raises:
        django.db.OperationalError, django.db.InterfaceError: the database is away.
    """
    run(roll_up)
    run(delete_old_reports)
    run(evaluate_rules)


def delete_old_reports() -> int:
    """Delete the reports on steps that do not run any more. Queues no task."""
    sql.fetch(sql.DELETE_OLD_REPORTS, {})
    return 0
