"""What authors define: frozen descriptions of pipelines and steps, and the registry that knows them by name."""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import CodeType, ModuleType
from typing import Any

from taskqueue.codec import Arguments, Payload, Result
from taskqueue.errors import DefinitionError, UnknownPipeline
from taskqueue.policies import Retry

STEP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
PIPELINE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
KEY_MAX_LENGTH = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class StepDefinition:
    """A step as its author defined it."""

    name: str
    function: Callable[..., Any]
    retry: Retry
    timeout: timedelta | None
    atomic: bool
    arguments: Arguments
    result: Result

    @property
    def is_async(self) -> bool:
        """Whether the function is `async def`."""
        return inspect.iscoroutinefunction(self.function)


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineDefinition:
    """A pipeline as its author defined it."""

    name: str
    function: Callable[..., Any]
    retry: Retry
    """For errors that the body itself raises, between its steps."""
    payload: Payload
    result: Result

    @property
    def is_async(self) -> bool:
        """Whether the function is `async def`."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def description(self) -> str:
        """The function's docstring, for people."""
        return inspect.getdoc(self.function) or ""

    def known_steps(self) -> list[StepDefinition]:
        """The steps that the body names, in the order in which it names them; those that helpers call are not seen."""
        return list(dict.fromkeys(steps_named_in(self.function)))


def check_function(function: object, what: str, *, decorator: str) -> None:
    """See that a decorated object can be called as a pipeline or a step.

    Raises:
        DefinitionError: it cannot.
    """
    if not inspect.isfunction(function):
        raise DefinitionError(
            f"{what} is not a function.", hint=f"Put {decorator} on a def, as its outermost decorator."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{what} is a generator.", hint="Return a list instead of yielding.")
    if next(iter(inspect.signature(function).parameters), "") in {"self", "cls"}:
        raise DefinitionError(f"{what} is a method.", hint="Make it a function of the module.")


def check_retry(retry: object, what: str) -> None:
    """See that a policy is one.

    Raises:
        DefinitionError: it is something else.
    """
    if not isinstance(retry, Retry):
        raise DefinitionError(
            f"{what} has retry={retry!r}.", hint="Give it a Retry, such as Retry.fixed(…) or Retry.never()."
        )


def check_timeout(timeout: object, what: str) -> None:
    """See that a timeout is one.

    Raises:
        DefinitionError: it is something else, or no time at all.
    """
    if timeout is not None and not (isinstance(timeout, timedelta) and timeout > timedelta(0)):
        raise DefinitionError(f"{what} has a timeout of {timeout}.", hint="A timeout is a timedelta above nothing.")


def steps_named_in(function: Callable[..., Any]) -> Iterator[StepDefinition]:
    """Each step that a function's code refers to, by a global, a closure or an attribute of a module."""
    for found in objects_named_in(function.__code__, names_in_reach_of(function)):
        definition = getattr(found, "definition", None)
        if isinstance(definition, StepDefinition):
            yield definition


def names_in_reach_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The globals of a function and what it closes over."""
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a variable that is not assigned yet, or no more
            names[name] = cell.cell_contents
    return names


def objects_named_in(code: CodeType, names: dict[str, Any]) -> Iterator[object]:
    """The objects that a code object loads by name, in source order, nested functions and comprehensions included."""
    module: object = None
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        if isinstance(value, CodeType):
            yield from objects_named_in(value, names)
        elif instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}:
            module = names.get(value)
            yield module
        elif instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(module, ModuleType):
            module = getattr(module, value, None)
            yield module


class Registry:
    """The pipelines that this process's code defines, by name."""

    def __init__(self) -> None:
        self._pipelines: dict[str, PipelineDefinition] = {}

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

    def names(self) -> list[str]:
        """Every pipeline's name, in order."""
        return sorted(self._pipelines)


def place_of(function: Callable[..., Any]) -> str:
    """Where a function is defined, for people and for comparing."""
    return f"{function.__module__}.{function.__qualname__}"


registry = Registry()
