"""Batches: many requests at once, of which all become tasks, or none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.enqueue.deduplicate import is_shared
from taskqueue.engine.enqueue.enqueue import insert_values, values_of
from taskqueue.engine.enqueue.options import CALLER, Options
from taskqueue.errors import BatchRefused, KeyReused, TaskqueueError

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition
    from taskqueue.models import Task

Item = TypeVar("Item")
Result = TypeVar("Result")
BATCH_MOST: Final = 1_000
"""Requests in one batch: their transaction holds their keys for about a second."""
NAME_SPACE: Final = 0x74716261
"""The first half of the advisory lock of a pipeline whose requests share tasks ("tqba" in ASCII)."""


@dataclass(frozen=True)
class Request:
    """One request of a batch: the arguments of `enqueue.enqueue`."""

    pipeline: str
    payload: object
    options: Options


@dataclass(frozen=True)
class Prepared:
    """A request that has been checked."""

    definition: PipelineDefinition
    values: dict[str, Any]
    options: Options

    @property
    def name(self) -> tuple[str, str]:
        """What no two different requests may have in common: pipeline and key."""
        return self.definition.name, self.options.key

    def make(self, promised: Collection[UUID]) -> Task:
        """Make its task, in the caller's transaction; it can be made once more when that was rolled back.

        Args:
            promised: the tasks for which their keys stand already.

        Raises:
            KeyReused
        """
        is_ours = {"force": True} if self.values["id"] in promised else {}
        return insert_values(self.definition, {**self.values, **is_ours}, self.options)


def prepare(requests: Iterable[Request]) -> list[Prepared]:
    """Check every request before anything is written.

    Raises:
        BatchRefused
    """
    checked = each_of(requests, prepared)
    first: dict[tuple[str, str], tuple[int, Prepared]] = {}
    each_of(enumerate(checked), lambda placed: refuse_reuse(*placed, first))
    return checked


def refuse_reuse(place: int, request: Prepared, first: dict[tuple[str, str], tuple[int, Prepared]]) -> None:
    """Refuse a request whose key another one before it has used with another payload.

    Raises:
        KeyReused
    """
    if not request.options.key:
        return
    if request.options.force:
        first[request.name] = place, request
        return
    there, other = first.setdefault(request.name, (place, request))
    mine, theirs = request.values, other.values
    if mine["payload_digest"] != theirs["payload_digest"] and not request.definition.payload.are_equal(
        mine["payload"], theirs["payload"]
    ):
        raise KeyReused(f"The key {request.options.key!r} is used for task {there} of the batch, with another payload.")


def make_all(requests: Sequence[Prepared]) -> list[Task]:
    """In a transaction: make the task of each.

    Locks are taken in one order before the first task is made, so that of two batches with the same keys one waits
    for the other, whatever the order of their requests.

    Raises:
        BatchRefused: a key stands for a task that was made from another payload.
    """
    sharing = sorted({each.definition.name for each in requests if is_shared(each.values)})
    if sharing:
        sql.fetch(sql.LOCK_SHARED, {"space": NAME_SPACE, "pipelines": sharing})
    promised = promise_keys(requests)
    return each_of(requests, lambda each: each.make(promised))


def promise_keys(requests: Sequence[Prepared]) -> set[UUID]:
    """Take all keys; the ids of the tasks for which they stand now. The others stand for tasks that are there."""
    first = {each.name: each.values for each in reversed(requests) if each.options.key}
    if not first:
        return set()
    wanted = [first[name] for name in sorted(first)]
    columns = {f"{name}s": [values[name] for values in wanted] for name in ("pipeline", "key", "id", "payload_digest")}
    rows = sql.fetch(sql.PROMISE_ALL, {**columns, "window": wanted[0]["window"]})
    return {task for (task,) in rows}


def prepared(request: Request) -> Prepared:
    """Check one.

    Raises:
        UnknownPipeline, InvalidPayload, InvalidOptions, NotSerializable, TooLarge
    """
    definition = registry.get(request.pipeline)
    payload = definition.payload.check(request.payload)
    return Prepared(definition, values_of(definition, payload, request.options, CALLER), request.options)


def each_of(items: Iterable[Item], do: Callable[[Item], Result]) -> list[Result]:
    """Do something with each item of a batch.

    Raises:
        BatchRefused: some were refused; every one is named.
    """
    results: list[Result] = []
    refusals: list[tuple[int, TaskqueueError]] = []
    for place, item in enumerate(items):
        try:
            results.append(do(item))
        except TaskqueueError as error:
            refusals.append((place, error))
    if refusals:
        raise BatchRefused(refusals, of=len(results) + len(refusals))
    return results
