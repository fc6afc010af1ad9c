"""Intake: a call becomes a task, in the caller's transaction."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.digests import payload_digest
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.enqueue import deduplicate
from taskqueue.engine.enqueue.options import CALLER, DEFAULT, Options, Origin
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.runtime.waits import register_cancels
from taskqueue.ids import uuid7
from taskqueue.models import Task

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition


def enqueue(pipeline: str, payload: object, *, options: Options = DEFAULT, origin: Origin = CALLER) -> Task:
    """Make a task of a pipeline, from plain JSON values.

    Args:
        pipeline: the pipeline's name.
        payload: what its model accepts.
        options: key, priority, time and labels.
        origin: where it comes from, if not from a caller.

    Returns:
        The new task, or the one that the key stands for, with `duplicate` set.

    Raises:
        UnknownPipeline, InvalidPayload, NotSerializable, TooLarge: nothing was made.
        KeyReused: the key stands for a task that was made from another payload.
    """
    definition = registry.get(pipeline)
    return insert(definition, definition.payload.check(payload), options=options, origin=origin)


def insert(
    definition: PipelineDefinition, payload: str, *, options: Options = DEFAULT, origin: Origin = CALLER
) -> Task:
    """Make a task whose payload has been checked and written by the pipeline's own model; else as `enqueue`."""
    return insert_values(definition, values_of(definition, payload, options, origin), options)


def values_of(definition: PipelineDefinition, payload: str, options: Options, origin: Origin) -> dict[str, Any]:
    """The parameters of ENQUEUE for a task.

    Raises:
        InvalidOptions, TooLarge: there can be no such task.
    """
    limits = settings()
    codec.within(payload, limit=limits.PAYLOAD_MAX_BYTES, what="The payload", setting="PAYLOAD_MAX_BYTES")
    return {
        "id": uuid7(),
        "pipeline": definition.name,
        "payload": payload,
        "key": options.key,
        "payload_digest": payload_digest(payload) if options.key else "",
        "force": options.force,
        "window": limits.IDEMPOTENCY_WINDOW,
        "priority": options.priority,
        "run_at": options.run_at,
        "labels": codec.write(dict(options.labels), what="labels"),
        "subject": options.subject,
        **vars(origin),
        **start_of(definition, payload, options),
        **({"notify_completion": True} if origin.parent is not None else {}),
        **deduplicate.sharing(definition, payload, options, origin),
    }


def insert_values(definition: PipelineDefinition, values: dict[str, Any], options: Options) -> Task:
    """Make the task of these parameters, or find the one that stands in for it. They are used up by it.

    Raises:
        KeyReused
    """
    make_task = partial(make, definition, values, options)
    if definition.policies.cancel_on:
        # The task and what may cancel it are one: who dies between the two must not leave half of it.
        make_task = transaction.atomic(make_task)
    if deduplicate.is_shared(values):
        return deduplicate.find_or_insert(definition, values, make_task)
    while True:
        if (task := make_task()) is not None:
            return task
        if (task := deduplicate.taken(definition, values)) is not None:
            return task
        # The key's window ended, or its task was pruned, between the two statements: there is room for ours now.


def make(definition: PipelineDefinition, values: dict[str, Any], options: Options) -> Task | None:
    """Insert the task's row, unless its key, its singleton or the like is taken."""
    made = sql.fetch(sql.ENQUEUE, values)
    if not made:
        return None
    if made[0][-1]:
        sync_pipeline(definition)
    if definition.policies.cancel_on:
        register_cancels(definition, values["id"], values["payload"], options.labels)
    notify_on_commit()
    return new_task(values, options, made[0])


def start_of(definition: PipelineDefinition, payload: str, options: Options) -> dict[str, Any]:
    """What the pipeline's policies say about a new task."""
    policies = definition.policies
    return {
        "concurrency_key": deduplicate.key_of(policies.group, definition, payload, options) if policies.group else "",
        "version": policies.version,
        "start_within": policies.start_within,
        "finish_within": policies.finish_within,
        "cancel_grace": policies.cancel_grace,
        "notify_completion": definition.has_listeners(registry.mentions),
    }


def new_task(values: dict[str, Any], options: Options, made: tuple[Any, ...]) -> Task:
    """The task just inserted, as a model instance and without another query; its payload is deferred."""
    status, due_at, sort_at, created_at, _unmirrored = made
    task = Task(
        id=values["id"],
        pipeline_id=values["pipeline"],
        status=status,
        key=options.key,
        labels=dict(options.labels),
        priority=options.priority,
        due_at=due_at,
        sort_at=sort_at,
        concurrency_key=values["concurrency_key"],
        subject=options.subject,
        version=values["version"],
        rerun_of_id=values["rerun_of"],
        parent_id=values["parent"],
        event_id=values["event"],
        created_at=created_at,
    )
    del task.payload
    task._state.adding = False
    task._state.db = "default"
    return task
