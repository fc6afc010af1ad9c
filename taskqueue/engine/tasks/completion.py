"""Completion: notify the parent of a finished task, run its handlers and create its deliveries, exactly once.

One transaction per finished task: after a crash the next sweep retries it, and a second caller is a no-op.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, cast
from uuid import UUID

from django.db import Error, transaction

from taskqueue.conf import settings
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.access import redaction
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.runtime.locks import run_or_log
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks.deliveries import create_deliveries
from taskqueue.engine.tracing import carrying
from taskqueue.errors import InvalidPayload, TooLarge
from taskqueue.ids import uuid7
from taskqueue.json_values import codec
from taskqueue.models import Task
from taskqueue.states import EVENT_SUFFIXES, TaskStatus

logger = logging.getLogger("taskqueue.engine")


def notify_completion_now(task: UUID) -> None:
    """Handle the completion of a task after its end is committed. After an error the next sweep does it."""
    try:
        notify_completion(task)
    except Error:
        logger.exception("The completion of task %s is not handled yet; a sweep will do it", task)


def notify_pending_completions() -> int:
    """Handle pending completions; how many. Those that another process handles now are skipped."""
    return sum(
        run_or_log(partial(notify_completion, task, wait_for_locks=False), f"The completion of task {task}")
        for (task,) in sql.fetch(sql.PENDING_COMPLETIONS, {"pipelines": registry.names()})
    )


def notify_completion(task: UUID, *, wait_for_locks: bool = True) -> bool:
    """Handle the completion of a task; False when it is not pending, or another process handles it."""
    with transaction.atomic():
        row = Task.objects.filter(pk=task).values_list("parent_id", "parallel_step").first()
        if row is None:
            return False
        parent, parallel_step = cast("tuple[UUID | None, str]", row)
        lock_parent, lock = (
            (sql.LOCK_PARENT, sql.LOCK_PENDING_COMPLETION)
            if wait_for_locks
            else (sql.TRY_LOCK_PARENT, sql.TRY_LOCK_PENDING_COMPLETION)
        )
        # The parent first, as in every transaction that locks both.
        if parent is not None and not sql.fetch(lock_parent, {"task": parent}):
            return False
        if not (locked := sql.fetch(lock, {"task": task})):
            return False
        if parallel_step:
            if complete_parallel_step(task, parent):
                notify_on_commit()
            return True
        if parent is not None:
            notify_parent(task, parent)
        ended = Task.objects.get(pk=task)
        [(_task, may_have_deliveries)] = locked
        with carrying(ended.traceparent):
            run_completion_handlers(ended)
            if may_have_deliveries:
                create_deliveries(ended)
        sql.fetch(sql.MARK_COMPLETION_HANDLED, {"task": task})
    return True


def complete_parallel_step(task: UUID, parent: UUID | None) -> bool:
    """Record the result of an ended parallel step in its parent's step, and delete its task.

    Returns whether a task was queued: the next one of its limit, or the parent after its last parallel step.

    Call it in a transaction that has locked the parent, and then ended or locked the task.
    """
    values = {"task": task, "parent": parent, "limit": settings().TASK_OUTPUT_MAX_BYTES}
    [(is_queued, is_deleted)] = sql.fetch(sql.COMPLETE_PARALLEL_STEP, values)
    if not is_deleted:
        sql.fetch(sql.MOVE_ATTEMPTS, {"task": task})
        sql.fetch(sql.DELETE_TASKS, {"tasks": [task]})
    return bool(is_queued)


def notify_parent(task: UUID, parent: UUID) -> None:
    """Record the result in the parent's step, and queue the parent if it waits for no other step."""
    values = {"task": task, "parent": parent, "limit": settings().TASK_OUTPUT_MAX_BYTES}
    if sql.fetch(sql.RESOLVE_PARENT, values) and sql.fetch(sql.QUEUE_SUSPENDED, {"task": parent}):
        notify_on_commit()


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
        "traceparent": task.traceparent,
    }
    sql.fetch(sql.SEND, values)
