"""The registry: the pipelines and steps that the code of this process defines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType
from typing import Any

from taskqueue.definitions.pipelines import PipelineDefinition
from taskqueue.definitions.steps import StepDefinition
from taskqueue.errors import DefinitionError, UnknownPipeline
from taskqueue.policies import Rate


class Registry:
    """The pipelines by name, and the steps by the path of their function."""

    def __init__(self) -> None:
        self._pipelines: dict[str, PipelineDefinition] = {}
        self._steps: dict[str, StepDefinition] = {}
        self._mentioned: tuple[dict[str, PipelineDefinition], frozenset[str]] = ({}, frozenset())

    def add(self, pipeline: PipelineDefinition) -> None:
        """Register a pipeline.

        Raises:
            DefinitionError: another function has this name. A function that is imported again replaces itself.
        """
        other = self._pipelines.get(pipeline.name)
        if other is not None and path_of(other.function) != path_of(pipeline.function):
            paths = f"{path_of(other.function)} and {path_of(pipeline.function)}"
            raise DefinitionError(
                f"Two pipelines are called {pipeline.name!r}: {paths}.",
                hint="Give one of them another name.",
            )
        self._pipelines[pipeline.name] = pipeline

    def add_step(self, step: StepDefinition) -> None:
        """Register a step by its path, so that a worker can run it as a parallel step."""
        self._steps[step.path] = step

    def step(self, path: str) -> StepDefinition:
        """Return the step with this path.

        Raises:
            UnknownPipeline: the code has no such step.
        """
        try:
            return self._steps[path]
        except KeyError:
            raise UnknownPipeline(f"The code has no step {path!r} any more.") from None

    def steps(self) -> list[StepDefinition]:
        return list(self._steps.values())

    def step_queues(self) -> list[str]:
        """Return the queues that steps name, sorted."""
        return sorted({step.queue for step in self._steps.values() if step.queue})

    def rate_declarations(self, name: str) -> list[Rate]:
        """Return each rate of this name that a step or a throttle declares with numbers."""
        steps = [step.rate for step in self._steps.values() if step.rate_name == name]
        throttles = [known.policies.throttle for known in self._pipelines.values() if known.throttle_name == name]
        return [rate for rate in (*throttles, *steps) if isinstance(rate, Rate)]

    def rate(self, name: str) -> Rate:
        """Return the rate of this name.

        Raises:
            DefinitionError: no step and no throttle declares it.
        """
        for rate in self.rate_declarations(name):
            return rate
        raise DefinitionError(
            f"No step and no throttle declares the rate {name!r}.",
            hint=f"Declare it once, in a step or a throttle: Rate(10, per=timedelta(seconds=1), name={name!r}).",
        )

    def get(self, name: str) -> PipelineDefinition:
        """Return the pipeline of this name.

        Raises:
            UnknownPipeline: the code defines no such pipeline; the message lists the pipelines that it defines.
        """
        try:
            return self._pipelines[name]
        except KeyError:
            known = (
                ", ".join(sorted(self._pipelines)) or "none (is its module called pipelines.py, in an installed app?)"
            )
            raise UnknownPipeline(f"No pipeline is called {name!r}. Known: {known}.") from None

    def all(self) -> list[PipelineDefinition]:
        return [self._pipelines[name] for name in self.names()]

    def by_name(self) -> Mapping[str, PipelineDefinition]:
        return self._pipelines

    def mentions(self, event: str) -> bool:
        """Whether a pipeline is started or cancelled by this event, or its body has the event's name as a text."""
        return event in self.mentioned

    @property
    def mentioned(self) -> frozenset[str]:
        """The events that start or cancel pipelines, and all texts in their bodies."""
        if self._mentioned[0] != self._pipelines:
            self._mentioned = (dict(self._pipelines), event_names_in(self._pipelines.values()))
        return self._mentioned[1]

    def names(self) -> list[str]:
        return sorted(self._pipelines)


def path_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


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


registry = Registry()
