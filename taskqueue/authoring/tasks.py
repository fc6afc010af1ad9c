"""The task that the calling code runs in."""

from __future__ import annotations

from taskqueue.context import CurrentTask, current
from taskqueue.errors import InvalidContext


def current_task() -> CurrentTask:
    """Return the task that this code runs in, with its id, attempt and labels; it can also report progress.

    Raises:
        InvalidContext: the code does not run in a task.
    """
    task = current.get()
    if task is None:
        raise InvalidContext("current_task() was called outside of a task: only code that a worker executes has one.")
    return task
