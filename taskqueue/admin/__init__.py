"""The admin: where people watch tasks, understand them, and retry or cancel them. Importing it registers its pages."""

from taskqueue.admin import events, limits, operations, pipelines, starts, tasks, workers

__all__ = ["events", "limits", "operations", "pipelines", "starts", "tasks", "workers"]
