"""Operations: what a person wants done to many tasks, worked off by whichever doorbell or worker has a moment.

A batch is one transaction: it locks the operation's row, calls the verb for the next tasks in order of their ids, and
moves the row's position on. Whoever dies in it has done nothing; nobody else can do the same batch at the same time;
who aborts waits for the row, so the abort takes effect between two batches.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from taskqueue import codec
from taskqueue.engine import sql
from taskqueue.engine.access.permissions import Action, Rights
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.runtime.locks import is_busy
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks import control
from taskqueue.errors import (
    BulkOperationEnded,
    NotCancellable,
    NotDelayed,
    NotPermitted,
    NotRetryable,
    TaskNotFound,
    TaskqueueError,
    UnfilteredOperation,
)
from taskqueue.models import BulkOperation, Task
from taskqueue.states import LIVE, ON_A_TIMER, BulkOperationStatus, BulkOperationVerb, TaskStatus

BATCH = 50
"""Tasks in one transaction. Who aborts, and whoever wants one of these tasks, waits for it."""

LONGEST = 0.5
"""Seconds after which a batch ends with what it has done."""

BUDGET = 0.25
"""Seconds; after that timers, dead workers and the other sweeps have their turn."""

LOOKED_THROUGH = 2_000
"""Of the tasks that an index answers with, so many are searched for one batch."""

REASONS_KEPT = 20
NOWHERE = UUID(int=0)
BUSY = "Somebody else held the task."

ELIGIBLE: dict[BulkOperationVerb, tuple[TaskStatus, ...]] = {
    BulkOperationVerb.RETRY: control.RETRYABLE,
    BulkOperationVerb.CANCEL: LIVE,
    BulkOperationVerb.RUN_NOW: ON_A_TIMER,
}
"""In which statuses a task can be done; in any, if a verb is not named here."""

NEEDS: dict[BulkOperationVerb, Action] = {
    BulkOperationVerb.RETRY: Action.RETRY,
    BulkOperationVerb.CANCEL: Action.CANCEL,
    BulkOperationVerb.RERUN: Action.RUN,
    BulkOperationVerb.RUN_NOW: Action.RETRY,
}
"""What whoever started it has to have a right to, for the pipeline of each task."""


@dataclass
class Tally:
    """What became of the tasks of a batch."""

    changed: int = 0
    skipped: int = 0
    failed: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def processed(self) -> int:
        """All of them."""
        return self.changed + self.skipped + self.failed


def eligible(verb: BulkOperationVerb, selection: TaskFilter) -> TaskFilter:
    """Those of the selected tasks on which the verb can be done at all.

    Raises:
        UnfilteredOperation: none can be, or all tasks would be meant.
    """
    if selection.is_empty:
        raise UnfilteredOperation("Without a filter this would be done to all tasks. Narrow the list first.")
    allowed = ELIGIBLE.get(verb)
    if allowed is None:
        return selection
    narrowed = selection.in_statuses(allowed)
    if narrowed is None:
        raise UnfilteredOperation(f"None of these tasks can be done: only one that is {' or '.join(allowed)}.")
    return narrowed


def plan(
    selection: TaskFilter, *, verb: BulkOperationVerb, query: str, reason: str, user: Any, by: str
) -> BulkOperation:
    """Have a verb done to all tasks that are selected now.

    Raises:
        UnfilteredOperation: none can be, or all tasks would be meant.
    """
    with transaction.atomic():
        meant = eligible(verb, selection.frozen(filters.database_now()))
        floor = filters.floor_of(meant)
        operation = BulkOperation.objects.create(
            verb=verb,
            query=query,
            selection=meant.as_json(),
            reason=codec.printable(reason)[:300],
            user_id=user,
            started_by=by[:150],
            estimate=filters.count_of(meant, floor),
            status=BulkOperationStatus.PLANNED,
            until=filters.newest() or NOWHERE,
            # The floor itself is one of them.
            position=UUID(int=floor.int - 1) if floor else NOWHERE,
        )
        notify_on_commit()
    return operation


def abort(operation_id: UUID, *, by: str) -> BulkOperation:
    """Do no further batch of an operation. Waits for the one that is being done.

    Raises:
        BulkOperationEnded
    """
    open_ones = BulkOperation.objects.filter(pk=operation_id, finished_at=None)
    won = open_ones.update(status=BulkOperationStatus.ABORTED, finished_at=Now(), aborted_by=by[:150])
    operation = BulkOperation.objects.get(pk=operation_id)
    if not won:
        raise BulkOperationEnded(f"The operation is {operation.status}; there is nothing to abort.")
    return operation


def run_batches() -> int:
    """Do some batches of the oldest operation that nobody else is at; how many tasks are ready now that were not."""
    deadline = time.monotonic() + BUDGET
    ready = 0
    while (made_ready := do_batch()) is not None:
        ready += made_ready
        if time.monotonic() >= deadline:
            break
    return ready


def do_batch() -> int | None:
    """Do the next batch; how many tasks it made ready, None when there is none to do."""
    with transaction.atomic():
        rows = sql.fetch(sql.NEXT_OPERATION, {})
        if not rows:
            return None
        operation = BulkOperation.objects.get(pk=rows[0][0])
        tasks, position = next_tasks(operation)
        tally = done(operation, tasks)
        if tally.processed < len(tasks):
            position = tasks[tally.processed - 1]
        record(operation, tally, position)
        notify_on_commit()  # there may be a next one
    return 0 if operation.verb == BulkOperationVerb.CANCEL else tally.changed


def next_tasks(operation: BulkOperation) -> tuple[list[UUID], UUID]:
    """The tasks of the next batch, and up to where all have been done with it.

    Ids carry the clocks of the machines that make them. What is made after the start, a rerun say, may have one that is
    smaller than the newest at the start; the database's own time tells it apart.
    """
    selection = TaskFilter.from_json(operation.selection)
    between = partial(filters.between, selection, operation.position, made_by=operation.created_at)
    end = operation.until
    if selection.is_searched:
        looked_at = between(end, limit=LOOKED_THROUGH, searched=False)
        end = looked_at[LOOKED_THROUGH - 1 : LOOKED_THROUGH].first() or end
    tasks = list(between(end, limit=BATCH))
    return tasks, tasks[-1] if len(tasks) == BATCH else end


def done(operation: BulkOperation, tasks: list[UUID]) -> Tally:
    """Call the verb for these tasks, as many as there is time for; each succeeds or is refused by itself.

    It is done with the rights that whoever started it has now.
    """
    tally, deadline = Tally(), time.monotonic() + LONGEST
    require = permission_for(operation, tasks)
    for task_id in tasks:
        if tally.processed and time.monotonic() >= deadline:
            break
        try:
            require(task_id)
            with transaction.atomic():
                DEEDS[BulkOperationVerb(operation.verb)](task_id, operation)
        except (NotRetryable, NotCancellable, NotDelayed, TaskNotFound) as moved_on:
            tally.skipped += 1
            tally.refusals[moved_on.title()] += 1
        except TaskqueueError as refused:
            tally.failed += 1
            tally.refusals[refused.detail] += 1
        except DatabaseError as error:
            if isinstance(error, OperationalError) and not is_busy(error):
                raise
            # One bad row must not keep the others from being done, now and at every look to come.
            tally.failed += 1
            tally.refusals[BUSY if is_busy(error) else f"The database refused it: {type(error).__name__}."] += 1
        else:
            tally.changed += 1
    return tally


def permission_for(operation: BulkOperation, tasks: list[UUID]) -> Callable[[UUID], None]:
    """What raises NotPermitted for a task with which the operation's user may not do this any more."""
    rights, deed = Rights(operation.user), NEEDS[BulkOperationVerb(operation.verb)]
    rights.know_all()
    pipelines = dict(Task.objects.filter(pk__in=tasks).values_list("pk", "pipeline_id"))

    def require(task_id: UUID) -> None:
        if operation.user is None:  # to Rights that would be one to whom everything is open
            raise NotPermitted("The account that started it is gone.")
        if task_id in pipelines:
            rights.require(deed, pipelines[task_id])

    return require


def record(operation: BulkOperation, tally: Tally, position: UUID) -> None:
    """Write down what a batch has done, and whether it was the last."""
    is_last = position >= operation.until
    refusals = Counter(operation.refusals) + tally.refusals
    BulkOperation.objects.filter(pk=operation.pk).update(
        status=BulkOperationStatus.DONE if is_last else BulkOperationStatus.RUNNING,
        position=position,
        processed=F("processed") + tally.processed,
        changed=F("changed") + tally.changed,
        skipped=F("skipped") + tally.skipped,
        failed=F("failed") + tally.failed,
        refusals=dict(refusals.most_common(REASONS_KEPT)),
        started_at=Coalesce("started_at", Now()),
        finished_at=Now() if is_last else None,
    )


def cancel(task_id: UUID, operation: BulkOperation) -> None:
    """End it, with the reason that was given."""
    control.cancel(task_id, reason=operation.reason or f"Cancelled with others by {operation.started_by}.")


DEEDS: dict[BulkOperationVerb, Callable[[UUID, BulkOperation], object]] = {
    BulkOperationVerb.RETRY: lambda task_id, _operation: control.retry(task_id),
    BulkOperationVerb.CANCEL: cancel,
    BulkOperationVerb.RERUN: lambda task_id, _operation: control.rerun(task_id),
    BulkOperationVerb.RUN_NOW: lambda task_id, _operation: control.run_now(task_id),
}
