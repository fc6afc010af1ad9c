"""Deadlines: a task that has not started or ended in time is cancelled."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.tasks.children import cancel_tree


def cancel_overdue() -> int:
    """Cancel what is overdue; what somebody else holds at this moment is looked at again in a second."""
    cancelled = 0
    for (task,) in sql.fetch(sql.OVERDUE, {}):
        with transaction.atomic():
            # Looked at again under its lock: it may have started or ended just now.
            rows = sql.fetch(sql.LOCK_OVERDUE, {"task": task})
            for pipeline, has_started, finish_within in rows:
                cancel_tree([task], reason=reason(pipeline, finish_within, has_started=has_started))
                cancelled += 1
    return cancelled


def reason(pipeline: str, finish_within: timedelta | None, *, has_started: bool) -> str:
    """Why it was cancelled, for people."""
    if has_started:
        return f"It did not end within {finish_within}."
    known = registry.get(pipeline).policies.start_within if pipeline in registry.names() else None
    return f"It did not start within {known or 'its time'}."
