"""Bulk enqueue: many requests in one transaction, all or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.enqueue.deduplicate import is_shared
from taskqueue.engine.enqueue.enqueue import find_or_insert
from taskqueue.engine.enqueue.options import NO_ORIGIN, Options
from taskqueue.engine.enqueue.task_row import new_task, task_values
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.errors import BatchRefused, KeyReused, TaskqueueError

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition
    from taskqueue.models import Task

Item = TypeVar("Item")
Result = TypeVar("Result")
BULK_MAX: Final = 1_000
"""Requests in one call of the API, and in one statement."""
CHUNK_MAX_CHARACTERS: Final = 16 * 1024 * 1024
"""Of payloads in one statement; the last payload may go beyond it."""
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
    return check_keys(for_each_item(requests, check))


def check(request: Request) -> CheckedRequest:
    """Check one request.

    Raises:
        UnknownPipeline, InvalidPayload, InvalidOptions, NotSerializable, TooLarge
    """
    definition = registry.get(request.pipeline)
    return with_values(definition, definition.payload.check(request.payload), request.options)


def with_values(definition: PipelineDefinition, payload: str, options: Options) -> CheckedRequest:
    """A request whose payload the pipeline's model has already checked and serialized.

    Raises:
        InvalidOptions, NotSerializable, TooLarge
    """
    return CheckedRequest(definition, task_values(definition, payload, options, NO_ORIGIN), options)


def check_keys(checked: list[CheckedRequest]) -> list[CheckedRequest]:
    """Check that the requests do not use one key with two payloads; the requests.

    Raises:
        BatchRefused
    """
    first: dict[tuple[str, str], tuple[int, CheckedRequest]] = {}
    for_each_item(enumerate(checked), lambda numbered: check_key(*numbered, first))
    return checked


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

    Requests that no existing task can serve are inserted together; the others come after them, one by one.

    Locks are taken in one order before the first insert. So of two bulk requests with the same keys one waits for the
    other, instead of a deadlock.

    Raises:
        BatchRefused: a key belongs to a task with another payload.
    """
    shared = sorted({request.definition.name for request in requests if is_shared(request.values)})
    if shared:
        sql.fetch(sql.LOCK_PIPELINES, {"space": SHARED_LOCK, "pipelines": shared})
    reserved = reserve_keys(requests)
    inserted = insert_many([request for request in requests if is_plain(request, reserved)])

    def enqueue_one(request: CheckedRequest) -> Task:
        task_id = request.values["id"]
        if task_id in inserted:
            return inserted[task_id]
        force = request.options.force or task_id in reserved
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


def is_plain(request: CheckedRequest, reserved: set[UUID]) -> bool:
    """Whether the request makes a new task, and nothing but its row."""
    if is_shared(request.values) or request.definition.policies.cancel_on:
        return False
    return not request.options.key or request.values["id"] in reserved


def insert_many(requests: Sequence[CheckedRequest]) -> dict[UUID, Task]:
    """Insert the tasks of plain requests, by one statement for each chunk; the tasks by their ids."""
    tasks: dict[UUID, Task] = {}
    new_pipelines: set[str] = set()
    for chunk in chunks(requests):
        ((created_at, names),) = sql.fetch(sql.ENQUEUE_MANY, rows_to_insert(chunk))
        new_pipelines.update(names)
        for request in chunk:
            task = new_task(request.values, request.options, created_at, start_of(request.options, created_at))
            tasks[task.pk] = task
    for name in sorted(new_pipelines):
        sync_pipeline(registry.get(name))
    if tasks:
        notify_on_commit()
    return tasks


def start_of(options: Options, created_at: datetime) -> datetime | None:
    """The time at which a task starts that ENQUEUE_MANY has inserted; None if that is its creation."""
    if options.run_at is None or options.run_at <= created_at:
        return None
    return options.run_at.astimezone(created_at.tzinfo)


def chunks(requests: Iterable[CheckedRequest]) -> Iterator[list[CheckedRequest]]:
    """The requests in parts of a thousand, or fewer if their payloads are large."""
    chunk: list[CheckedRequest] = []
    characters = 0
    for request in requests:
        chunk.append(request)
        characters += len(request.values["payload"])
        if len(chunk) == BULK_MAX or characters >= CHUNK_MAX_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def rows_to_insert(requests: Iterable[CheckedRequest]) -> dict[str, Any]:
    """The parameters of ENQUEUE_MANY. New pipelines are written by name, so that two statements cannot deadlock."""
    by_pipeline = {request.definition.name: request.values for request in requests}
    columns = ("pipeline", "version", "start_within", "finish_within", "cancel_grace", "notify_completion")
    definitions = {f"{name}s": [by_pipeline[pipeline][name] for pipeline in sorted(by_pipeline)] for name in columns}
    return {**definitions, "requests": f"[{','.join(map(row_to_insert, requests))}]"}


WRITTEN: Final = ("key", "subject", "priority", "concurrency_key", "traceparent")
"""What a row says unless it has its default."""


def row_to_insert(request: CheckedRequest) -> str:
    """A request as JSON, without what has its default. Its payload and labels are JSON already."""
    values, options = request.values, request.options
    given = {name: values[name] for name in WRITTEN if values[name]}
    if options.run_at is not None:
        given["run_at"] = options.run_at.isoformat()
    labels = f',"labels":{values["labels"]}' if options.labels else ""
    others = f",{json.dumps(given)[1:-1]}" if given else ""
    # The name of a pipeline has nothing that JSON escapes.
    return f'{{"id":"{values["id"]}","pipeline":"{values["pipeline"]}","payload":{values["payload"]}{labels}{others}}}'


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
