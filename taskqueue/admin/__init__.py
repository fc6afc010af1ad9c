"""The admin: where people watch tasks, understand them, and retry or cancel them. Importing it registers its pages."""

from taskqueue.admin import audit, events, limits, operations, pipelines, starts, tasks, workers
from taskqueue.admin.object_tasks import TasksOfObject

__all__ = ["TasksOfObject", "audit", "events", "limits", "operations", "pipelines", "starts", "tasks", "workers"]
