"""The registry: what this process's code defines, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskqueue.definitions.listening import names_mentioned_by
from taskqueue.definitions.pipelines import PipelineDefinition
from taskqueue.definitions.steps import StepDefinition
from taskqueue.errors import DefinitionError, UnknownPipeline
from taskqueue.policies import Rate


class Registry:
    """The pipelines that this process's code defines, by name."""

    def __init__(self) -> None:
        self._pipelines: dict[str, PipelineDefinition] = {}
        self._steps: dict[str, StepDefinition] = {}
        self._mentioned: tuple[dict[str, PipelineDefinition], frozenset[str]] = ({}, frozenset())

    def add(self, pipeline: PipelineDefinition) -> None:
        """Make a pipeline known.

        Raises:
            DefinitionError: another function already has this name. The same function imported again replaces itself.
        """
        other = self._pipelines.get(pipeline.name)
        if other is not None and place_of(other.function) != place_of(pipeline.function):
            places = f"{place_of(other.function)} and {place_of(pipeline.function)}"
            raise DefinitionError(
                f"Two pipelines are called {pipeline.name!r}: {places}.",
                hint="Give one of them another name.",
            )
        self._pipelines[pipeline.name] = pipeline

    def add_step(self, step: StepDefinition) -> None:
        """Make a step known by its place, so that a worker can run it as a branch."""
        self._steps[step.place] = step

    def step(self, place: str) -> StepDefinition:
        """The step of this place.

        Raises:
            UnknownPipeline: this process's code has no such step any more.
        """
        try:
            return self._steps[place]
        except KeyError:
            raise UnknownPipeline(f"The code has no step {place!r} any more.") from None

    def steps(self) -> list[StepDefinition]:
        """Every step."""
        return list(self._steps.values())

    def declarations_of(self, name: str) -> list[Rate]:
        """What the code says of the rate of this name: each step and each throttle that gives its numbers."""
        steps = [step.rate for step in self._steps.values() if step.rate_name == name]
        throttles = [known.policies.throttle for known in self._pipelines.values() if known.throttle_name == name]
        return [rate for rate in (*throttles, *steps) if isinstance(rate, Rate)]

    def rate(self, name: str) -> Rate:
        """The rate of this name.

        Raises:
            DefinitionError: no step and no throttle declares it.
        """
        for rate in self.declarations_of(name):
            return rate
        raise DefinitionError(
            f"Nobody declares the rate {name!r}.",
            hint=f"Give its numbers once, in a step or a throttle: Rate(10, per=timedelta(seconds=1), name={name!r}).",
        )

    def get(self, name: str) -> PipelineDefinition:
        """The pipeline of this name.

        Raises:
            UnknownPipeline: this process's code defines none; the message lists those that it does define.
        """
        try:
            return self._pipelines[name]
        except KeyError:
            known = (
                ", ".join(sorted(self._pipelines)) or "none (is its module called pipelines.py, in an installed app?)"
            )
            raise UnknownPipeline(f"No pipeline is called {name!r}. Known: {known}.") from None

    def all(self) -> list[PipelineDefinition]:
        """Every pipeline, by name."""
        return [self._pipelines[name] for name in self.names()]

    def mentions(self, event: str) -> bool:
        """Whether a pipeline names this event: as what starts or cancels it, or as a text in its body."""
        if self._mentioned[0] != self._pipelines:
            self._mentioned = (dict(self._pipelines), names_mentioned_by(self._pipelines.values()))
        return event in self._mentioned[1]

    def names(self) -> list[str]:
        """Every pipeline's name, in order."""
        return sorted(self._pipelines)


def place_of(function: Callable[..., Any]) -> str:
    """Where a function is defined, for people and for comparing."""
    return f"{function.__module__}.{function.__qualname__}"


registry = Registry()
