"""Batches: many requests at once, of which all become tasks, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from taskqueue.definitions import registry
from taskqueue.engine.intake import CALLER, Options, insert_values, values_of
from taskqueue.errors import BatchRefused, TaskqueueError

if TYPE_CHECKING:
    from taskqueue.definitions import PipelineDefinition
    from taskqueue.models import Task

Item = TypeVar("Item")
Result = TypeVar("Result")
BATCH_MOST: Final = 1_000
"""Requests in one batch: their transaction holds their keys for about a second."""


@dataclass(frozen=True)
class Request:
    """That somebody wants a task: as the arguments of `intake.enqueue`."""

    pipeline: str
    payload: object
    options: Options


@dataclass(frozen=True)
class Prepared:
    """A request that has been checked."""

    definition: PipelineDefinition
    values: dict[str, Any]
    options: Options

    def make(self) -> Task:
        """Make its task, in the caller's transaction; it can be made once more when that was rolled back."""
        return insert_values(self.definition, dict(self.values), self.options)


def prepare(requests: Iterable[Request]) -> list[Prepared]:
    """Check every request before anything is written.

    Raises:
        BatchRefused
    """
    return each_of(requests, prepared)


def prepared(request: Request) -> Prepared:
    """Check one.

    Raises:
        UnknownPipeline, InvalidPayload, InvalidOptions, Unstorable, TooLarge
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
