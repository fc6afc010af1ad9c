"""Cancelling: tasks end together with all that is below them."""

from __future__ import annotations

from uuid import UUID

from taskqueue.engine import sql
from taskqueue.models import Task


def cancel_all(tasks: list[UUID], *, reason: str) -> tuple[list[UUID], list[UUID]]:
    """In a transaction: cancel these tasks, if they have not ended, and all below them; parents first.

    Branches leave nothing behind.

    Returns:
        Those of the first that were cancelled, and of all those whose end somebody has to be told.
    """
    first: list[UUID] | None = None
    untold: list[UUID] = []
    while tasks:
        rows = sql.fetch(sql.CANCEL_ALL, {"tasks": tasks, "reason": reason[:300]})
        cancelled = [task for task, parallel_step, _echo in rows if not parallel_step]
        if parallel_steps := [task for task, parallel_step, _echo in rows if parallel_step]:
            sql.fetch(sql.DISSOLVE, {"tasks": parallel_steps})
        untold += [task for task, parallel_step, notify_completion in rows if notify_completion and not parallel_step]
        first = cancelled if first is None else first
        tasks = children_of(cancelled)
        reason = "Its parent was cancelled."
    return first or [], untold


def children_of(tasks: list[UUID]) -> list[UUID]:
    """The tasks right below these that have not ended, in one order."""
    if not tasks:
        return []
    below = Task.objects.filter(parent__in=tasks, finished_at=None).order_by("pk")
    return list(below.values_list("pk", flat=True))
