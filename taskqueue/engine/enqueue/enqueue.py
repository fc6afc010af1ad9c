"""Enqueue: check the request, derive its keys, look for an existing task, insert.

All of it runs in the caller's transaction, if there is one.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, LiteralString

from django.db import transaction

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_new_pipeline
from taskqueue.engine.enqueue import deduplicate
from taskqueue.engine.enqueue.options import DEFAULT_OPTIONS, NO_ORIGIN, Options, Origin
from taskqueue.engine.enqueue.task_row import new_task, task_values
from taskqueue.engine.runtime.notify import notification, notify_on_commit
from taskqueue.engine.runtime.waits import register_cancel_events
from taskqueue.models import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskqueue.definitions import PipelineDefinition


def enqueue(pipeline: str, payload: object, *, options: Options = DEFAULT_OPTIONS, origin: Origin = NO_ORIGIN) -> Task:
    """Enqueue a task from plain JSON values.

    Args:
        pipeline: the pipeline's name.
        payload: JSON values that the pipeline's payload model accepts.
        options: key, priority, start time, labels and subject.
        origin: the event, schedule, parent or rerun that creates the task.

    Returns:
        The new task, or an existing one with `duplicate` set.

    Raises:
        UnknownPipeline, InvalidPayload, InvalidOptions, NotSerializable, TooLarge: no task was created.
        KeyReused: the key belongs to a task with another payload.
    """
    definition = registry.get(pipeline)
    return insert(definition, definition.payload.check(payload), options=options, origin=origin)


def insert(
    definition: PipelineDefinition, payload: str, *, options: Options = DEFAULT_OPTIONS, origin: Origin = NO_ORIGIN
) -> Task:
    """Enqueue a task with a payload that the pipeline's model has already checked and serialized."""
    return find_or_insert(definition, task_values(definition, payload, options, origin), options)


def find_or_insert(definition: PipelineDefinition, values: Mapping[str, Any], options: Options) -> Task:
    """The existing task that serves a request, or a new one.

    Raises:
        KeyReused
    """
    is_shared = deduplicate.is_shared(values)
    with transaction.atomic() if is_shared else nullcontext():
        if is_shared and values["key"]:
            if (existing := deduplicate.reserve_key(definition, values)) is not None:
                return existing
            # The key is reserved until the transaction ends, so ENQUEUE may write it again.
            values = {**values, "force": True}
        while True:
            task = (
                deduplicate.join_shared_task(definition, values)
                or insert_row(definition, values, options)
                or deduplicate.find_duplicate(definition, values)
            )
            if task is not None:
                return task
            # Between the statements another transaction committed the conflicting task, or removed it; or the pipeline
            # has no row yet: a new deploy, or an emptied test database, must not fail its first caller.
            sync_new_pipeline(definition)


def insert_row(definition: PipelineDefinition, values: Mapping[str, Any], options: Options) -> Task | None:
    """Insert the task; None when its key or a unique index conflicts with an existing task, or without a pipeline."""
    # A task and the waits for the events that cancel it are inserted together or not at all.
    with transaction.atomic() if definition.policies.cancel_on else nullcontext():
        rows = sql.fetch(statement_for(values), {**values, **notification()})
        if not rows:
            return None
        created_at, due_at, is_notified = rows[0]
        if definition.policies.cancel_on:
            register_cancel_events(definition, values["id"], values["payload"], options.labels)
        if not is_notified:
            notify_on_commit()
    return new_task(values, options, created_at, due_at)


def statement_for(values: Mapping[str, Any]) -> LiteralString:
    """ENQUEUE_PLAIN for a task without a key, an origin or a trace that no other request shares, else ENQUEUE."""
    has_more = values["key"] or values["has_origin"] or values["traceparent"] or deduplicate.is_shared(values)
    return sql.ENQUEUE if has_more else sql.ENQUEUE_PLAIN
