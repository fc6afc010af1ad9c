"""A task's row: the values that ENQUEUE inserts, and the inserted row as a model instance."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import DEFERRED

from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.digests import payload_digest
from taskqueue.engine.enqueue import deduplicate
from taskqueue.engine.enqueue.options import Options, Origin
from taskqueue.ids import uuid7
from taskqueue.json_values import codec
from taskqueue.models import Task

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
        "concurrency_key": deduplicate.rendered_key(policies.key_template, definition, payload, options),
        "version": policies.version,
        "start_within": policies.start_within,
        "finish_within": policies.finish_within,
        "cancel_grace": policies.cancel_grace,
        "notify_completion": origin.parent is not None or definition.has_listeners(registry.mentions),
        **deduplicate.shared_keys(definition, payload, options, origin),
    }


def new_task(values: Mapping[str, Any], options: Options, columns: list[Any]) -> Task:
    """The inserted task as a model instance, without another query. Its payload is deferred."""
    status, due_at, sort_at, created_at = columns
    given = {
        "id": values["id"],
        "pipeline_id": values["pipeline"],
        "status": status,
        "key": options.key,
        "labels": dict(options.labels),
        "priority": options.priority,
        "due_at": due_at,
        "sort_at": sort_at,
        "concurrency_key": values["concurrency_key"],
        "subject": options.subject,
        "version": values["version"],
        "rerun_of_id": values["rerun_of"],
        "parent_id": values["parent"],
        "event_id": values["event"],
        "created_at": created_at,
        "payload": DEFERRED,
    }
    row = {**defaults(), **given}
    return Task.from_db(DEFAULT_DB_ALIAS, list(row), list(row.values()))


@cache
def defaults() -> dict[str, Any]:
    """The columns of a task in the model's order, with the values of a new one.

    All values by position: with names Django would look for the default of each field, at the cost of the INSERT.
    """
    default = vars(Task())
    return {field.attname: default.get(field.attname, DEFERRED) for field in Task._meta.concrete_fields}
