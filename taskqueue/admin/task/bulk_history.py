"""Which operations did something to a task: they leave one entry in the audit log, not one for each of their tasks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.db.models import Q

from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.models import BulkOperation, Task
from taskqueue.states import BulkOperationVerb, TaskStatus

READ_AT_MOST = 50
SLACK = timedelta(seconds=2)
"""Longer than a batch goes on before it is recorded, and than an entry comes after its deed."""

Traces = dict[BulkOperationVerb, tuple[datetime, UUID]]


def traces_of(task: Task) -> Traces:
    """When something was done to a task that an operation may have done, and to which task of its selection."""
    traces: Traces = {}
    if task.retried_at is not None:
        traces[BulkOperationVerb.RETRY] = (task.retried_at, task.pk)
    if task.status == TaskStatus.CANCELLED and task.finished_at is not None:
        traces[BulkOperationVerb.CANCEL] = (task.finished_at, task.pk)
    if task.rerun_of_id is not None:
        traces[BulkOperationVerb.RERUN] = (task.created_at, task.rerun_of_id)
    return traces


def operations_on(task: Task, history: Iterable[LogEntry]) -> list[tuple[datetime, BulkOperation]]:
    """The operations that were at it when that was done, each with the moment; one query at most.

    What a person did by hand has an entry of its own.
    """
    by_hand = [entry.action_time for entry in history]
    traces = {
        verb: (moment, known)
        for verb, (moment, known) in traces_of(task).items()
        if not any(abs(moment - done) < SLACK for done in by_hand)
    }
    if not traces:
        return []
    earliest = min(moment for moment, _known in traces.values())
    # Each half has an index of its own; there are no more of them than people have started.
    found = BulkOperation.objects.filter(Q(finished_at__gte=earliest) | Q(finished_at=None), verb__in=traces)
    told = ((*traces[BulkOperationVerb(each.verb)], each) for each in found.order_by("-pk")[:READ_AT_MOST])
    return [(moment, each) for moment, known, each in told if was_at(each, task, moment, known)]


def was_at(operation: BulkOperation, task: Task, moment: datetime, known: UUID) -> bool:
    """Whether an operation was at this task at that moment, as far as can still be told."""
    if operation.started_at is None or not operation.changed:
        return False
    selection = TaskFilter.from_json(operation.selection)
    is_among = known <= min(operation.until, operation.position) and selection.pipeline in {"", task.pipeline_id}
    ended = operation.finished_at
    return is_among and operation.started_at - SLACK <= moment and (ended is None or moment <= ended)
