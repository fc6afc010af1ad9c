"""Emitting: a task, or anybody, says what has happened."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async

from taskqueue.authoring.places import in_event_loop
from taskqueue.context import current, current_step
from taskqueue.engine.events.send import checked, send
from taskqueue.errors import InvalidContext


def emit(event: str, data: dict[str, Any]) -> None:
    """Send an event.

    In a pipeline's body it is sent once, however often the body runs. In a step, and outside of tasks, it is written in
    the caller's transaction: a rollback takes it along, and a step that is tried again sends it again, unless it is
    `step.atomic`.

    Args:
        event: its name, such as "order/paid".
        data: its data, a JSON object.

    Raises:
        InvalidEvent, TooLarge: it cannot be sent.
        InvalidContext: called in an async body: write `await aemit(…)`.
    """
    if in_event_loop():
        raise InvalidContext(f"emit({event!r}) was called in async code. Write `await aemit(…)`.")
    task = current.get()
    if task is None or current_step.get():
        send(event, data, source=task.id if task is not None else None)
    else:
        task.emit(event, checked(event, data))


async def aemit(event: str, data: dict[str, Any]) -> None:
    """The same from async code."""
    await sync_to_async(emit)(event, data)
