"""Steps as their authors defined them."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import CodeType, ModuleType
from typing import Any

from taskqueue.json_values.typed import Arguments, Result
from taskqueue.policies import Rate, Retry


@dataclass(frozen=True, kw_only=True, eq=False)
class StepDefinition:
    name: str
    function: Callable[..., Any]
    retry: Retry
    timeout: timedelta | None
    atomic: bool
    arguments: Arguments
    result: Result
    rate: Rate | str | None = None
    """The rate that it declares, or the name of a rate that is declared elsewhere."""
    queue: str = ""
    """Its queue; empty for that of the pipeline that calls it."""

    @property
    def active_function(self) -> Callable[..., Any]:
        """The function that a call executes: its own, or the fake of a test."""
        return active_fakes.get(self, self.function) if active_fakes else self.function

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def path(self) -> str:
        """The dotted path of the function, by which another worker finds the step."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def rate_name(self) -> str:
        """The name of its rate, `step/<name>` by default; "" without a rate."""
        if isinstance(self.rate, Rate):
            return self.rate.name or f"step/{self.name}"
        return self.rate or ""


active_fakes: dict[StepDefinition, Callable[..., Any]] = {}
"""The functions that `taskqueue.testing.fake` calls instead of a step's own."""


def referenced_steps(function: Callable[..., Any]) -> Iterator[StepDefinition]:
    """Yield each step that a function's code refers to by a global, a closure or an attribute of a module."""
    for found in referenced_objects(function.__code__, visible_names(function)):
        definition = getattr(found, "definition", None)
        if isinstance(definition, StepDefinition):
            yield definition


def visible_names(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the globals of a function and its closure."""
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the variable is not assigned yet, or deleted
            names[name] = cell.cell_contents
    return names


def referenced_objects(code: CodeType, names: dict[str, Any]) -> list[object]:
    """Return the objects that the code loads by name, in source order, nested functions included."""
    # Python 3.12 and later order the code of handlers and comprehensions differently from the source.
    return [found for _position, found in sorted(loads_of(code, names), key=lambda load: load[0])]


def loads_of(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[tuple[int, int], object]]:
    """Yield each object that the code loads by name, with its line and column."""
    module: object = None
    for instruction in dis.get_instructions(code):
        value, positions = instruction.argval, instruction.positions
        position = (0, 0) if positions is None else (positions.lineno or 0, positions.col_offset or 0)
        if isinstance(value, CodeType):
            yield from loads_of(value, names)
        elif instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"}:
            module = names.get(value)
            yield position, module
        elif instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(module, ModuleType):
            module = getattr(module, value, None)
            yield position, module
