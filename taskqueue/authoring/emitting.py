"""Emit events from tasks and from other code."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async

from taskqueue.authoring.call_context import in_event_loop
from taskqueue.context import current, current_step
from taskqueue.engine.events.send import checked_data, send
from taskqueue.errors import InvalidContext


def emit(event: str, data: dict[str, Any]) -> None:
    """Send an event.

    A pipeline's body sends it once, however often the body runs. In a step, and outside of tasks, the event is part of
    the caller's transaction: a rollback removes it, and a step that is retried sends it again, unless it is
    `step.atomic`.

    Args:
        event: its name, such as "order/paid".
        data: a JSON object.

    Raises:
        InvalidEvent, TooLarge: the event is not valid.
        InvalidContext: called in an async body: write `await aemit(…)`.
    """
    if in_event_loop():
        raise InvalidContext(f"emit({event!r}) was called in async code. Write `await aemit(…)`.")
    task = current.get()
    if task is None or current_step.get():
        send(event, data, source=task.id if task is not None else None)
    else:
        task.emit(event, checked_data(event, data))


async def aemit(event: str, data: dict[str, Any]) -> None:
    """Send an event from async code; see `emit`."""
    await sync_to_async(emit)(event, data)
