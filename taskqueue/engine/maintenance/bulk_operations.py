"""Bulk operations: an action on many tasks, which dispatchers and workers run batch by batch.

A batch is one transaction: it locks the operation's row, runs the action on the next tasks in order of their ids, and
writes the new position. After a crash the batch runs again; no other process runs it at the same time. An abort waits
for the row, so it takes effect between two batches.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.db import DatabaseError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.access.permissions import Action, CallerPermissions
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.runtime.locks import is_lock_conflict
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
from taskqueue.json_values import codec
from taskqueue.models import BulkOperation, Task
from taskqueue.states import LIVE, ON_A_TIMER, BulkOperationStatus, BulkOperationVerb, TaskStatus

BATCH_SIZE = 50
"""Tasks in one transaction. An abort, and other changes of these tasks, wait for it."""

BATCH_SECONDS = 0.5
"""A batch ends after this time with the tasks that it has done."""

SWEEP_SECONDS = 0.25
"""After this time the other sweeps run."""

SEARCHED_PER_BATCH = 2_000
"""Rows of an index that a batch reads when the filter has a text search."""

REASONS_KEPT = 20
LOWEST_ID = UUID(int=0)
LOCKED = "Another transaction had locked the task."

ELIGIBLE: dict[BulkOperationVerb, tuple[TaskStatus, ...]] = {
    BulkOperationVerb.RETRY: control.RETRYABLE,
    BulkOperationVerb.CANCEL: LIVE,
    BulkOperationVerb.RUN_NOW: ON_A_TIMER,
}
"""The statuses in which an action is possible; an action that is not named here is possible in all."""

REQUIRED_ACTION: dict[BulkOperationVerb, Action] = {
    BulkOperationVerb.RETRY: Action.RETRY,
    BulkOperationVerb.CANCEL: Action.CANCEL,
    BulkOperationVerb.RERUN: Action.RUN,
    BulkOperationVerb.RUN_NOW: Action.RETRY,
}
"""What the user who started an operation must be permitted to do in the pipeline of each task."""

CONSEQUENCES = {
    BulkOperationVerb.RETRY: (
        "Queues each task again and keeps the results of its finished steps. Steps that are not atomic may repeat what "
        "they did outside the database before they failed."
    ),
    BulkOperationVerb.CANCEL: (
        "Cancels each task with its parallel steps and children; the result of a running step is not recorded. "
        "A cancelled task can be retried later."
    ),
    BulkOperationVerb.RERUN: (
        "Submits a new task with the payload, priority and labels of each task. Every step runs again, and steps that "
        "are not atomic may repeat what they did outside the database."
    ),
    BulkOperationVerb.RUN_NOW: (
        "Starts scheduled tasks, the next attempt of retrying tasks and sleeping tasks at once. Concurrency and rate "
        "limits still apply. Tasks that wait for something else are skipped."
    ),
}
"""What an action does, for people who confirm it."""

LARGE = 1_000
"""An operation on more tasks needs a reason; in the admin the typed verb, too."""


def plan(
    selection: TaskFilter,
    *,
    verb: BulkOperationVerb,
    query: str,
    reason: str,
    actor: Actor,
    message: Callable[[int], str] | None = None,
) -> BulkOperation:
    """Start an operation on all tasks that match a filter now.

    Args:
        query: the filter as the query of a URL.
        reason: why, for the audit entry and as the reason of a cancel.
        actor: the user who starts it, by whose permissions it runs.
        message: the text of the audit entry, of the estimated number of tasks. None for no entry.

    Raises:
        UnfilteredOperation: no task is eligible, or the filter matches all tasks.
    """
    with transaction.atomic():
        narrowed = eligible(verb, selection.with_absolute_times(filters.database_now()))
        floor = filters.oldest_scanned(narrowed)
        operation = BulkOperation.objects.create(
            verb=verb,
            query=query,
            selection=narrowed.as_json(),
            reason=codec.printable(reason)[:300],
            user_id=actor.user,
            started_by=actor.name[:150],
            estimate=filters.count_of(narrowed, floor),
            status=BulkOperationStatus.PLANNED,
            until=Task.objects.order_by("-pk").values_list("pk", flat=True).first() or LOWEST_ID,
            position=UUID(int=floor.int - 1) if floor else LOWEST_ID,  # before the floor, which is one of them
        )
        notify_on_commit()
        if message is not None:
            text = message(operation.estimate)
            actor.record(operation, f"{text} Reason: {reason}" if reason else text, added=True)
    return operation


def eligible(verb: BulkOperationVerb, selection: TaskFilter) -> TaskFilter:
    """Narrow a filter to the tasks on which an action is possible.

    Raises:
        UnfilteredOperation: no task is eligible, or the filter matches all tasks.
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


def about(estimate: int) -> str:
    """A number of tasks; "10,000+ tasks" when counting stopped there."""
    if estimate > filters.COUNT_LIMIT:
        return f"{filters.COUNT_LIMIT:,}+ tasks"
    return "1 task" if estimate == 1 else f"{estimate:,} tasks"


def abort(operation_id: UUID, *, actor: Actor) -> BulkOperation:
    """End an operation before its next batch. Waits for the current one.

    Raises:
        BulkOperationEnded
    """
    with transaction.atomic():
        unfinished = BulkOperation.objects.filter(pk=operation_id, finished_at=None)
        aborted = unfinished.update(status=BulkOperationStatus.ABORTED, finished_at=Now(), aborted_by=actor.name[:150])
        operation = BulkOperation.objects.get(pk=operation_id)
        if not aborted:
            raise BulkOperationEnded(f"The operation is {operation.status}; there is nothing to abort.")
        tasks = "1 task" if operation.processed == 1 else f"{operation.processed:,} tasks"
        actor.record(operation, f"Aborted after {tasks}.")
    return operation


def run_batches() -> int:
    """Run batches of the oldest operation that no other process runs; how many tasks they queued."""
    deadline = time.monotonic() + SWEEP_SECONDS
    queued = 0
    while (count := run_batch()) is not None:
        queued += count
        if time.monotonic() >= deadline:
            break
    return queued


@dataclass
class BatchCounts:
    """The results of a batch."""

    changed: int = 0
    skipped: int = 0
    failed: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def processed(self) -> int:
        """All tasks of the batch that were tried."""
        return self.changed + self.skipped + self.failed


def run_batch() -> int | None:
    """Run the next batch; how many tasks it queued, None without an operation to run."""
    with transaction.atomic():
        unlocked = BulkOperation.objects.select_for_update(skip_locked=True, no_key=True)
        operation = unlocked.filter(finished_at=None).order_by("pk").first()
        if operation is None:
            return None
        tasks, position = next_tasks(operation)
        counts = run_action(operation, tasks)
        if counts.processed < len(tasks):
            position = tasks[counts.processed - 1]
        save_progress(operation, counts, position)
        notify_on_commit()  # there may be a next batch
    return 0 if operation.verb == BulkOperationVerb.CANCEL else counts.changed


def next_tasks(operation: BulkOperation) -> tuple[list[UUID], UUID]:
    """The tasks of the next batch, and the position after it.

    Ids carry the clocks of the machines that create them. A task that is created after the start, such as a rerun, may
    have an id that is smaller than the newest at the start: so the database's own time is compared, too.
    """
    selection = TaskFilter.from_json(operation.selection)
    between = partial(filters.ids_between, selection, operation.position, created_by=operation.created_at)
    end = operation.until
    if selection.needs_scan:
        candidates = between(end, limit=SEARCHED_PER_BATCH, unindexed=False)
        end = candidates[SEARCHED_PER_BATCH - 1 : SEARCHED_PER_BATCH].first() or end
    tasks = list(between(end, limit=BATCH_SIZE))
    return tasks, tasks[-1] if len(tasks) == BATCH_SIZE else end


def run_action(operation: BulkOperation, tasks: list[UUID]) -> BatchCounts:
    """Run the action on these tasks until the time of a batch is over; each task succeeds or is refused by itself."""
    counts, deadline = BatchCounts(), time.monotonic() + BATCH_SECONDS
    require = permission_check(operation, tasks)
    for task_id in tasks:
        if counts.processed and time.monotonic() >= deadline:
            break
        try:
            require(task_id)
            with transaction.atomic():
                change(task_id, operation)
        except (NotRetryable, NotCancellable, NotDelayed, TaskNotFound) as changed_since:
            counts.skipped += 1
            counts.refusals[changed_since.title()] += 1
        except TaskqueueError as refused:
            counts.failed += 1
            counts.refusals[refused.detail] += 1
        except DatabaseError as error:
            if isinstance(error, OperationalError) and not is_lock_conflict(error):
                raise
            # One bad row must not keep the operation from the other tasks for ever.
            counts.failed += 1
            counts.refusals[
                LOCKED if is_lock_conflict(error) else f"The database refused it: {type(error).__name__}."
            ] += 1
        else:
            counts.changed += 1
    return counts


def permission_check(operation: BulkOperation, tasks: list[UUID]) -> Callable[[UUID], None]:
    """A function that raises NotPermitted for a task on which the operation's user may not run the action now."""
    rights, action = CallerPermissions(operation.user), REQUIRED_ACTION[BulkOperationVerb(operation.verb)]
    rights.load_all()
    pipelines = dict(Task.objects.filter(pk__in=tasks).values_list("pk", "pipeline_id"))

    def require(task_id: UUID) -> None:
        if operation.user is None:  # Rights(None) would permit everything
            raise NotPermitted("The account that started it is gone.")
        if task_id in pipelines:
            rights.require(action, pipelines[task_id])

    return require


def save_progress(operation: BulkOperation, counts: BatchCounts, position: UUID) -> None:
    is_last = position >= operation.until
    refusals = Counter(operation.refusals) + counts.refusals
    BulkOperation.objects.filter(pk=operation.pk).update(
        status=BulkOperationStatus.DONE if is_last else BulkOperationStatus.RUNNING,
        position=position,
        processed=F("processed") + counts.processed,
        changed=F("changed") + counts.changed,
        skipped=F("skipped") + counts.skipped,
        failed=F("failed") + counts.failed,
        refusals=dict(refusals.most_common(REASONS_KEPT)),
        started_at=Coalesce("started_at", Now()),
        finished_at=Now() if is_last else None,
    )


def change(task_id: UUID, operation: BulkOperation) -> None:
    actor = Actor(None, operation=operation.pk)
    match operation.verb:
        case BulkOperationVerb.RETRY:
            control.retry(task_id, actor=actor)
        case BulkOperationVerb.CANCEL:
            reason = operation.reason or f"Cancelled with others by {operation.started_by}."
            control.cancel(task_id, reason=reason, actor=actor)
        case BulkOperationVerb.RERUN:
            control.rerun(task_id, actor=actor)
        case BulkOperationVerb.RUN_NOW:
            control.run_now(task_id, actor=actor)
