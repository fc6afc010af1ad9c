"""The admin: where people watch tasks, understand them, and retry or cancel them. Importing it registers its pages."""

from taskqueue.admin import (
    audit,
    events,
    limits,
    operations,
    overview_admin,
    pipelines,
    rights,
    starts,
    tasks,
    tokens,
    workers,
)
from taskqueue.admin.object_tasks import TasksOfObject

__all__ = [
    "TasksOfObject", "audit", "events", "limits", "operations", "overview_admin", "pipelines", "rights", "starts",
    "tasks", "tokens", "workers",
]  # fmt: skip
