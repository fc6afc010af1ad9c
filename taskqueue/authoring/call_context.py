"""Where a call comes from: a pipeline's body, a step, or code outside of tasks."""

from __future__ import annotations

import asyncio

from taskqueue.context import CurrentTask, RunningTask, current, current_step
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


def calling_task(call: str) -> RunningTask | None:
    """Return the task whose body makes this call; None outside of tasks.

    Raises:
        InvalidContext: a step makes the call.
    """
    if current_step.get():
        raise InvalidContext(
            f"{call} was called inside step {current_step.get()!r}, which holds a worker. "
            "Call it in the pipeline's body."
        )
    return current.get()


def refuse_in_body(call: str) -> None:
    """Refuse to enqueue in a body; a step may.

    Raises:
        InvalidContext
    """
    if current.get() is not None and not current_step.get():
        raise InvalidContext(
            f"{call} was called in a pipeline's body, which runs again from its beginning after each pause. "
            "Call it in a step."
        )


def in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
