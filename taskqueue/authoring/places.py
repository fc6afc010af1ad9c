"""Where a call stands: in a pipeline's body, in a step, or outside of tasks."""

from __future__ import annotations

import asyncio

from taskqueue.context import RunningTask, current, current_step
from taskqueue.errors import InvalidContext


def body(call: str) -> RunningTask | None:
    """The task in whose body a call stands; None outside of tasks.

    Raises:
        InvalidContext: the call stands inside a step.
    """
    if current_step.get():
        raise InvalidContext(
            f"{call} was called inside step {current_step.get()!r}, which holds a worker. "
            "Call it in the pipeline's body."
        )
    return current.get()


def in_event_loop() -> bool:
    """Whether this code runs inside a coroutine."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
