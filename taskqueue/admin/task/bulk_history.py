"""Find the bulk operations that changed a task.

An operation has one audit entry for all its tasks, so its changes to one task are found by their times.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.db.models import Q

from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.models import BulkOperation, Task
from taskqueue.states import BulkOperationVerb, TaskStatus

MAX_OPERATIONS = 50
TOLERANCE = timedelta(seconds=2)
"""Longer than a batch runs before it is recorded, and than an audit entry comes after its action."""

Changes = dict[BulkOperationVerb, tuple[datetime, UUID]]


def changes_of(task: Task) -> Changes:
    """By verb: when a task was changed, and which task the operation selected."""
    changes: Changes = {}
    if task.retried_at is not None:
        changes[BulkOperationVerb.RETRY] = (task.retried_at, task.pk)
    if task.status == TaskStatus.CANCELLED and task.finished_at is not None:
        changes[BulkOperationVerb.CANCEL] = (task.finished_at, task.pk)
    if task.rerun_of_id is not None:
        changes[BulkOperationVerb.RERUN] = (task.created_at, task.rerun_of_id)
    return changes


def operations_on(task: Task, history: Iterable[LogEntry]) -> list[tuple[datetime, BulkOperation]]:
    """The operations that changed a task, with the times of the changes. At most one query.

    Args:
        task: the task.
        history: the task's own audit entries; their changes were made by hand.
    """
    by_hand = [entry.action_time for entry in history]
    changes = {
        verb: (moment, selected)
        for verb, (moment, selected) in changes_of(task).items()
        if not any(abs(moment - action_time) < TOLERANCE for action_time in by_hand)
    }
    if not changes:
        return []
    earliest = min(moment for moment, _selected in changes.values())
    # Each half of the OR has an index.
    found = BulkOperation.objects.filter(Q(finished_at__gte=earliest) | Q(finished_at=None), verb__in=changes)
    dated = ((*changes[BulkOperationVerb(each.verb)], each) for each in found.order_by("-pk")[:MAX_OPERATIONS])
    return [(moment, each) for moment, selected, each in dated if may_have_changed(each, task, moment, selected)]


def may_have_changed(operation: BulkOperation, task: Task, moment: datetime, selected: UUID) -> bool:
    """Whether an operation was running at that time and had reached the selected task."""
    if operation.started_at is None or not operation.changed:
        return False
    task_filter = TaskFilter.from_json(operation.selection)
    has_reached = selected <= min(operation.until, operation.position)
    end = operation.finished_at
    was_running = operation.started_at - TOLERANCE <= moment and (end is None or moment <= end)
    return has_reached and task_filter.pipeline in {"", task.pipeline_id} and was_running
