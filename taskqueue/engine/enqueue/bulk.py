"""Bulk enqueue: up to 1,000 requests in one transaction, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.enqueue.deduplicate import is_shared
from taskqueue.engine.enqueue.enqueue import find_or_insert
from taskqueue.engine.enqueue.options import NO_ORIGIN, Options
from taskqueue.engine.enqueue.task_row import task_values
from taskqueue.errors import BatchRefused, KeyReused, TaskqueueError

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition
    from taskqueue.models import Task

Item = TypeVar("Item")
Result = TypeVar("Result")
BULK_MAX: Final = 1_000
"""Requests in one transaction, which locks their keys for about a second."""
SHARED_LOCK: Final = 0x74716261
"""First half of the advisory lock on a pipeline whose requests share tasks ("tqba" in ASCII)."""


@dataclass(frozen=True)
class Request:
    """One request: the arguments of `enqueue.enqueue`."""

    pipeline: str
    payload: object
    options: Options


@dataclass(frozen=True)
class CheckedRequest:
    """A valid request, with the parameters of the ENQUEUE statement."""

    definition: PipelineDefinition
    values: dict[str, Any]
    options: Options

    @property
    def pipeline_and_key(self) -> tuple[str, str]:
        """Two requests with different payloads must not have these in common."""
        return self.definition.name, self.options.key


def check_all(requests: Iterable[Request]) -> list[CheckedRequest]:
    """Check every request before anything is written.

    Raises:
        BatchRefused: with the errors of all refused requests.
    """
    checked = for_each_item(requests, check)
    first: dict[tuple[str, str], tuple[int, CheckedRequest]] = {}
    for_each_item(enumerate(checked), lambda numbered: check_key(*numbered, first))
    return checked


def check(request: Request) -> CheckedRequest:
    """Check one request.

    Raises:
        UnknownPipeline, InvalidPayload, InvalidOptions, NotSerializable, TooLarge
    """
    definition = registry.get(request.pipeline)
    payload = definition.payload.check(request.payload)
    return CheckedRequest(definition, task_values(definition, payload, request.options, NO_ORIGIN), request.options)


def check_key(index: int, request: CheckedRequest, first: dict[tuple[str, str], tuple[int, CheckedRequest]]) -> None:
    """Refuse a request whose key an earlier one uses with another payload.

    Raises:
        KeyReused
    """
    if not request.options.key:
        return
    if request.options.force:
        first[request.pipeline_and_key] = index, request
        return
    first_index, other = first.setdefault(request.pipeline_and_key, (index, request))
    if request.values["payload_digest"] != other.values["payload_digest"] and not request.definition.payload.are_equal(
        request.values["payload"], other.values["payload"]
    ):
        raise KeyReused(
            f"The key {request.options.key!r} is used for task {first_index} of the batch, with another payload."
        )


def enqueue_all(requests: Sequence[CheckedRequest]) -> list[Task]:
    """Enqueue the requests; call it in a transaction. It can be repeated after a rollback.

    Locks are taken in one order before the first insert. So of two bulk requests with the same keys one waits for the
    other, instead of a deadlock.

    Raises:
        BatchRefused: a key belongs to a task with another payload.
    """
    shared = sorted({request.definition.name for request in requests if is_shared(request.values)})
    if shared:
        sql.fetch(sql.LOCK_PIPELINES, {"space": SHARED_LOCK, "pipelines": shared})
    reserved = reserve_keys(requests)

    def enqueue_one(request: CheckedRequest) -> Task:
        force = request.options.force or request.values["id"] in reserved
        return find_or_insert(request.definition, {**request.values, "force": force}, request.options)

    return for_each_item(requests, enqueue_one)


def reserve_keys(requests: Sequence[CheckedRequest]) -> set[UUID]:
    """Reserve all keys; the ids of the new tasks that they now belong to. The other keys belong to existing tasks."""
    first = {request.pipeline_and_key: request.values for request in reversed(requests) if request.options.key}
    if not first:
        return set()
    wanted = [first[name] for name in sorted(first)]
    columns = {f"{name}s": [values[name] for values in wanted] for name in ("pipeline", "key", "id", "payload_digest")}
    rows = sql.fetch(sql.RESERVE_KEYS, {**columns, "window": wanted[0]["window"]})
    return {task for (task,) in rows}


def for_each_item(items: Iterable[Item], function: Callable[[Item], Result]) -> list[Result]:
    """Call a function with each item, also after one was refused.

    Raises:
        BatchRefused: with the error of every refused item.
    """
    results: list[Result] = []
    refusals: list[tuple[int, TaskqueueError]] = []
    for index, item in enumerate(items):
        try:
            results.append(function(item))
        except TaskqueueError as error:
            refusals.append((index, error))
    if refusals:
        raise BatchRefused(refusals, of=len(results) + len(refusals))
    return results
