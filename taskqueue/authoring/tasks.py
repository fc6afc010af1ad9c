"""The task that the calling code runs in."""

from __future__ import annotations

from taskqueue.context import CurrentTask, current
from taskqueue.errors import InvalidContext


def current_task() -> CurrentTask:
    """The task that this code runs in: its id, attempt and labels, and how to report progress.

    Raises:
        InvalidContext: the code does not run in a task.
    """
    task = current.get()
    if task is None:
        raise InvalidContext("current_task() was called outside a task: only a worker that executes one can answer it.")
    return task
