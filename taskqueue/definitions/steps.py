"""Steps as their authors defined them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskqueue.definitions.code_references import referenced_objects, visible_names
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
