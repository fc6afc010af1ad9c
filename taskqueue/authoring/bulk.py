"""Enqueue many tasks at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from taskqueue.authoring.call_context import refuse_in_body
from taskqueue.authoring.parallel import Deferred
from taskqueue.authoring.pipelines import refuse_timeout
from taskqueue.definitions import registry
from taskqueue.engine.enqueue import bulk
from taskqueue.engine.enqueue.options import DEFAULT_OPTIONS
from taskqueue.models import Task


def enqueue_many(calls: Iterable[Deferred[Any]]) -> list[Task]:
    """Create many tasks, or none, in the caller's transaction: a rollback removes them.

    A thousand tasks take one statement, and one more if they have keys. Each task of a pipeline with `singleton`,
    `debounce`, `batch` or `cancel_on`, and each whose key is known, takes statements of its own.

    Args:
        calls: what `pipeline.defer(…)` returns, or `pipeline.using(…).defer(…)` for a task with options.

    Returns:
        The tasks in the order of the calls, each as `enqueue` returns it.

    Raises:
        BatchRefused: with the position and the error of each refused call; no task was created.
        InvalidContext: called in a pipeline's body.
    """
    refuse_in_body("enqueue_many()")
    requests = bulk.check_keys(bulk.for_each_item(calls, request_of))
    with transaction.atomic():
        return bulk.enqueue_all(requests)


def request_of(call: Deferred[Any]) -> bulk.CheckedRequest:
    pause = call.pause()
    child_spec = pause.child_spec
    if child_spec is None or child_spec.parallel_step:
        raise TypeError(f"enqueue_many() takes calls of pipelines, and {call.name!r} is a step.")
    refuse_timeout(pause.delay)
    definition = registry.get(child_spec.pipeline)
    return bulk.with_values(definition, child_spec.payload, child_spec.options or DEFAULT_OPTIONS)
