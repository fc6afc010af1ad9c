"""The admin: where people watch tasks, understand them, and retry or cancel them. Importing it registers its pages."""

from taskqueue.admin import audit, events, limits, pipelines, starts, tasks, workers

__all__ = ["audit", "events", "limits", "pipelines", "starts", "tasks", "workers"]
