"""Cancel tasks together with all of their descendants."""

from __future__ import annotations

from uuid import UUID

from taskqueue.engine import sql
from taskqueue.models import Task


def cancel_with_descendants(tasks: list[UUID], *, reason: str) -> tuple[list[UUID], list[UUID]]:
    """Cancel these unfinished tasks and all of their descendants, parents first. Call it in a transaction.

    Tasks of parallel steps are deleted instead.

    Returns:
        The given tasks that were cancelled, and all cancelled tasks whose completion is to be notified.
    """
    first: list[UUID] | None = None
    to_notify: list[UUID] = []
    while tasks:
        rows = sql.fetch(sql.CANCEL_TASKS, {"tasks": tasks, "reason": reason[:300]})
        cancelled = [task for task, parallel_step, _ in rows if not parallel_step]
        if parallel_steps := [task for task, parallel_step, _ in rows if parallel_step]:
            sql.fetch(sql.DELETE_TASKS, {"tasks": parallel_steps})
        to_notify += [
            task for task, parallel_step, notify_completion in rows if notify_completion and not parallel_step
        ]
        first = cancelled if first is None else first
        tasks = unfinished_children(cancelled)
        reason = "Its parent was cancelled."
    return first or [], to_notify


def unfinished_children(tasks: list[UUID]) -> list[UUID]:
    """The unfinished children of these tasks, always in one order, so that two callers cannot deadlock."""
    if not tasks:
        return []
    children = Task.objects.filter(parent__in=tasks, finished_at=None).order_by("pk")
    return list(children.values_list("pk", flat=True))
