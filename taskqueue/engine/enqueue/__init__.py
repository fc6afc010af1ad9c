"""Enqueue: a request becomes a task, or returns the existing task that already serves it."""
