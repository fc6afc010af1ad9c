"""Enqueue the handler and emit the event of a finished task, in the transaction that handles its completion."""

from __future__ import annotations

from typing import Any

from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.access import redaction
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import InvalidPayload, TooLarge
from taskqueue.ids import uuid7
from taskqueue.json_values import codec
from taskqueue.models import Task
from taskqueue.states import EVENT_SUFFIXES, TaskStatus


def run_completion_handlers(task: Task) -> None:
    """Enqueue the handler for the task's status, and emit its completion event if a pipeline listens for it."""
    definition = registry.by_name().get(task.pipeline_id)
    if definition is None:
        return
    handler = definition.handlers.get(task.status)
    if handler is not None:
        enqueue_handler(handler, task)
    event = f"{definition.name}.{EVENT_SUFFIXES[TaskStatus(task.status)]}"
    if definition.policies.announce or registry.mentions(event):
        emit_completion_event(event, task)


def enqueue_handler(handler: PipelineDefinition, task: Task) -> None:
    arguments = {"task": str(task.pk), "pipeline": task.pipeline_id, "error": task.error, "reason": task.cancel_reason}
    options = Options(labels=task.labels)
    try:
        insert(handler, handler.payload.check({**arguments, "payload": task.payload}), options=options)
    except (TooLarge, InvalidPayload):
        # The payload is too large together with the rest, or was stored before masked values were refused as secrets.
        # Without it the handler runs; else the sweep would fail for ever.
        insert(handler, handler.payload.check({**arguments, "payload": None}), options=options)


def emit_completion_event(name: str, task: Task) -> None:
    """Write the event, without secrets, since it is shown. A sweep routes it."""
    task = redaction.copy_without_secrets(task)
    data: dict[str, Any] = {"task": str(task.pk), "pipeline": task.pipeline_id, "payload": task.payload}
    data["labels"] = task.labels
    if task.status == TaskStatus.SUCCEEDED:
        data["result"] = task.result
    else:
        data["error"] = task.error or {"type": "Cancelled", "message": task.cancel_reason, "step": None}
    values = {
        "id": uuid7(),
        "name": name,
        "data": codec.write(data),
        "external_id": "",
        "source": task.pk,
        "closed": "{}",
    }
    sql.fetch(sql.SEND, values)
