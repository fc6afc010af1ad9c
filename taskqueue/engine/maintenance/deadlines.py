"""Cancel tasks that have not started or ended in time."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.tasks.children import cancel_tree


def cancel_overdue() -> int:
    """Cancel overdue tasks; how many. A locked task is left for the next sweep."""
    cancelled = 0
    for (task,) in sql.fetch(sql.OVERDUE_TASKS, {}):
        with transaction.atomic():
            # Read again under its lock: it may have started or ended just now.
            rows = sql.fetch(sql.LOCK_OVERDUE_TASK, {"task": task})
            for pipeline, has_started, finish_within in rows:
                cancel_tree([task], reason=reason(pipeline, finish_within, has_started=has_started))
                cancelled += 1
    return cancelled


def reason(pipeline: str, finish_within: timedelta | None, *, has_started: bool) -> str:
    if has_started:
        return f"It did not end within {finish_within}."
    start_within = registry.get(pipeline).policies.start_within if pipeline in registry.names() else None
    return f"It did not start within {start_within or 'its time'}."
