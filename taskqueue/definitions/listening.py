"""Who listens: the event names that this process's code mentions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CodeType

from taskqueue.definitions.pipelines import PipelineDefinition


def names_mentioned_by(pipelines: Iterable[PipelineDefinition]) -> frozenset[str]:
    """Every event that starts or cancels one of these pipelines, and every text in their bodies."""
    return frozenset(name for pipeline in pipelines for name in names_in(pipeline))


def names_in(pipeline: PipelineDefinition) -> Iterator[str]:
    """The same for one of them, with its old bodies."""
    yield from (on.event for on in pipeline.policies.on)
    yield from (cancel_on.event for cancel_on in pipeline.policies.cancel_on)
    for body in (pipeline, *pipeline.versions.values()):
        yield from texts_in(body.function.__code__)


def texts_in(code: CodeType) -> Iterator[str]:
    """The texts that a function's code holds, and those of the functions in it."""
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from texts_in(constant)
