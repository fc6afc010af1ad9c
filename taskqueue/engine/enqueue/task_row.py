"""A task's row: the values that ENQUEUE inserts, and the inserted row as a model instance."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models.base import ModelState

from taskqueue.conf import settings
from taskqueue.context import current_request
from taskqueue.definitions import registry
from taskqueue.digests import payload_digest
from taskqueue.engine.enqueue import deduplicate
from taskqueue.engine.enqueue.options import NO_ORIGIN, Options, Origin
from taskqueue.engine.tracing import current_traceparent
from taskqueue.ids import uuid7
from taskqueue.json_values import codec
from taskqueue.models import Task
from taskqueue.models.task import DERIVED
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskqueue.definitions import PipelineDefinition


def task_values(definition: PipelineDefinition, payload: str, options: Options, origin: Origin) -> dict[str, Any]:
    """The parameters of the ENQUEUE statement.

    Raises:
        InvalidOptions, TooLarge
    """
    limits, policies = settings(), definition.policies
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
        "labels": codec.write(dict(options.labels), what="labels") if options.labels else "{}",
        "subject": options.subject,
        **vars(origin),
        "has_origin": origin is not NO_ORIGIN,
        "concurrency_key": deduplicate.rendered_key(policies.key_template, definition, payload, options),
        "traceparent": current_traceparent(),
        "version": policies.version,
        "start_within": policies.start_within,
        "finish_within": policies.finish_within,
        "cancel_grace": policies.cancel_grace,
        "notify_completion": origin.parent is not None or definition.has_listeners(registry.mentioned),
        **deduplicate.shared_keys(definition, payload, options, origin),
    }


def new_task(values: Mapping[str, Any], options: Options, created_at: datetime, due_at: datetime | None) -> Task:
    """The inserted task as a model instance, without another query. Its payload is deferred.

    Args:
        due_at: its start; None if that is the time of its creation.
    """
    starts_at = due_at or created_at
    task = Task.__new__(Task)
    # As unpickling makes it: Model.__init__ costs more than the rest, and there is nothing to convert.
    vars(task).update(
        defaults(),
        _state=ModelState(),
        id=values["id"],
        pipeline_id=values["pipeline"],
        status=TaskStatus.QUEUED.value if due_at is None else TaskStatus.SCHEDULED.value,
        key=options.key,
        labels=dict(options.labels),
        priority=options.priority,
        due_at=starts_at,
        sort_at=starts_at - timedelta(seconds=options.priority),
        concurrency_key=values["concurrency_key"],
        subject=options.subject,
        version=values["version"],
        rerun_of_id=values["rerun_of"],
        parent_id=values["parent"],
        event_id=values["event"],
        traceparent=values["traceparent"],
        created_at=created_at,
    )
    task._state.adding, task._state.db = False, DEFAULT_DB_ALIAS
    if (request := current_request.get()) is not None:
        request.tasks.append(task.id)
    return task


@cache
def defaults() -> dict[str, Any]:
    """The attributes of a new task, without those that are deferred: its payload, and what the database computes."""
    attributes = vars(Task())
    names = {field.attname for field in Task._meta.concrete_fields} - {"payload", *DERIVED}
    return {name: attributes[name] for name in names}
