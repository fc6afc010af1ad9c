"""The admin: where people watch tasks, understand them, and retry or cancel them. Importing it registers its pages."""

from taskqueue.admin import events, limits, pipelines, rights, starts, tasks, tokens, workers

__all__ = ["events", "limits", "pipelines", "rights", "starts", "tasks", "tokens", "workers"]
