"""Endings: the handlers and the event that follow the end of a task, made in the transaction that tells it."""

from __future__ import annotations

from typing import Any

from taskqueue import codec
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.access import redaction
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import InvalidPayload, TooLarge, UnknownPipeline
from taskqueue.ids import uuid7
from taskqueue.models import Task
from taskqueue.states import TOLD_AS, TaskStatus


def follow(task: Task) -> None:
    """Make the handler's task and the event for a task that has ended, if there is a handler and a listener."""
    try:
        definition = registry.get(task.pipeline_id)
    except UnknownPipeline:
        return
    handler = definition.handlers.get(task.status)
    if handler is not None:
        handle(handler, task)
    name = f"{definition.name}.{TOLD_AS[TaskStatus(task.status)]}"
    if definition.policies.announce or registry.mentions(name):
        announce(name, task)


def handle(handler: PipelineDefinition, task: Task) -> None:
    """Make the task that handles the end."""
    facts = {"task": str(task.pk), "pipeline": task.pipeline_id, "error": task.error, "reason": task.cancel_reason}
    options = Options(labels=task.labels)
    try:
        insert(handler, handler.payload.check({**facts, "payload": task.payload}), options=options)
    except (TooLarge, InvalidPayload):
        # Too large for a handler beside the rest; or stored when masks were still taken for secrets. A sweep comes
        # here again until it succeeds, so the handler is told of the end without the payload.
        insert(handler, handler.payload.check({**facts, "payload": None}), options=options)


def announce(name: str, task: Task) -> None:
    """Write the event that says so, without secrets: it is there to be looked at. A sweep routes it."""
    task = redaction.without_secrets(task)
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
