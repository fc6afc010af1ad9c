"""Run a task to its end, however many days its retries take."""

from __future__ import annotations

from typing import Any

from taskqueue.models import Step, Task
from taskqueue.testing import advance, work


def reload(task: Task) -> Any:
    """Return the task as it is now; untyped, because its result and its error may be anything."""
    return Task.objects.get(pk=task.pk)


def finish(task: Task) -> Any:
    """Work until the task has ended, and let a day pass whenever no task is due."""
    for _ in range(12):
        work()
        task = reload(task)
        if task.has_ended:
            return task
        advance(days=1)
    raise AssertionError(f"The task does not end: it is {task.status}.")


def outputs_of(task: Task) -> dict[str, object]:
    return dict(Step.objects.filter(task=task).order_by("pk").values_list("key", "output"))
