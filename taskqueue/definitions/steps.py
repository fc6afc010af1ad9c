"""Steps as their authors defined them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskqueue.codec import Arguments, Result
from taskqueue.definitions.reading import names_in_reach_of, objects_named_in
from taskqueue.policies import KeyTemplate, Rate, Retry


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
    rate: Rate | str | None = None
    """The rate that it declares, or the name of one that is declared elsewhere."""

    @property
    def called(self) -> Callable[..., Any]:
        """What a call of it calls: its function, unless a test has something stand in for that."""
        return stand_ins.get(self, self.function) if stand_ins else self.function

    @property
    def is_async(self) -> bool:
        """Whether the function is `async def`."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def place(self) -> str:
        """Where the function is defined, by which another worker finds it."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def rate_name(self) -> str:
        """The name of its rate; empty for none. One that was given no name has the step's."""
        if isinstance(self.rate, Rate):
            return self.rate.name or f"step/{self.name}"
        return self.rate or ""

    @property
    def rate_template(self) -> KeyTemplate | None:
        """What its rate is kept for each value of."""
        return self.rate.template if isinstance(self.rate, Rate) else None


stand_ins: dict[StepDefinition, Callable[..., Any]] = {}
"""What `taskqueue.testing.fake` has put in the place of functions; empty but for that."""


def steps_named_in(function: Callable[..., Any]) -> Iterator[StepDefinition]:
    """Each step that a function's code refers to, by a global, a closure or an attribute of a module."""
    for found in objects_named_in(function.__code__, names_in_reach_of(function)):
        definition = getattr(found, "definition", None)
        if isinstance(definition, StepDefinition):
            yield definition
