"""The admin: where people watch tasks, understand them, and retry or cancel them. Importing it registers its pages."""

from taskqueue.admin import limits, pipelines, starts, tasks, workers

__all__ = ["limits", "pipelines", "starts", "tasks", "workers"]
