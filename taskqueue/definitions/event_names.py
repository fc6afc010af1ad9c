"""The event names that the code of this process mentions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CodeType

from taskqueue.definitions.pipelines import PipelineDefinition


def event_names_in(pipelines: Iterable[PipelineDefinition]) -> frozenset[str]:
    """Return every event that starts or cancels one of these pipelines, and every text in their bodies."""
    return frozenset(name for pipeline in pipelines for name in names_of(pipeline))


def names_of(pipeline: PipelineDefinition) -> Iterator[str]:
    yield from (on.event for on in pipeline.policies.on)
    yield from (cancel_on.event for cancel_on in pipeline.policies.cancel_on)
    for body in (pipeline, *pipeline.versions.values()):
        yield from texts_in(body.function.__code__)


def texts_in(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from texts_in(constant)
