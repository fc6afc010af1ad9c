"""Pipelines as their authors defined them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from taskqueue.codec import Payload, Result
from taskqueue.definitions.steps import StepDefinition, steps_named_in
from taskqueue.policies import (
    Batch,
    CancelOn,
    Cron,
    Debounce,
    KeyTemplate,
    Limit,
    On,
    Rate,
    Retry,
    Singleton,
    is_event_name,
    matches,
)

HANDLERS: Final = {"failed": "on-failure", "cancelled": "on-cancel"}
"""By the end that they handle: what the names of handlers have behind that of their pipeline."""


def handled_by(pipeline: str) -> str:
    """The name of the pipeline whose tasks' ends one of this name handles; empty if it is no handler."""
    name, _dot, suffix = pipeline.rpartition(".")
    return name if suffix in HANDLERS.values() else ""


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What a pipeline asks for besides its body; `authoring.pipelines.Options` says what each one means."""

    version: str = ""
    concurrency: tuple[Limit, ...] = ()
    step_concurrency: tuple[Limit, ...] = ()
    throttle: Rate | None = None
    on: tuple[On, ...] = ()
    cancel_on: tuple[CancelOn, ...] = ()
    cron: Cron | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    singleton: Singleton | None = None
    start_within: timedelta | None = None
    finish_within: timedelta | None = None
    cancel_grace: timedelta | None = None
    keep: timedelta | None = None
    keep_for_ever: bool = False
    strict: bool = False
    announce: bool = False

    @property
    def group(self) -> KeyTemplate | None:
        """What tasks are grouped by: the key of its limits and of its throttle, which is one and the same."""
        limits = (*self.concurrency, *self.step_concurrency, *filter(None, [self.throttle]))
        return next((limit.template for limit in limits if limit.template is not None), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineDefinition:
    """A pipeline as its author defined it."""

    name: str
    function: Callable[..., Any]
    retry: Retry
    """For errors that the body itself raises, between its steps."""
    payload: Payload
    result: Result
    policies: Policies = Policies()
    handlers: dict[str, PipelineDefinition] = field(default_factory=dict)
    """By "failed" and "cancelled": the pipelines that run after a task that ended so."""
    versions: dict[str, PipelineDefinition] = field(default_factory=dict)
    """Old bodies by the version for whose tasks they are kept."""

    @property
    def is_async(self) -> bool:
        """Whether the function is `async def`."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def description(self) -> str:
        """The function's docstring, for people."""
        return inspect.getdoc(self.function) or ""

    @property
    def throttle_name(self) -> str:
        """The name of the rate of its starts; one that was given no name has the pipeline's."""
        throttle = self.policies.throttle
        return "" if throttle is None else throttle.name or self.name

    @property
    def triggers(self) -> tuple[On, ...]:
        """What starts it: `<name>.requested`, unless its author says how, and the events that it names."""
        requested = f"{self.name}.requested"
        named = self.policies.on
        by_default = is_event_name(requested) and all(on.event != requested for on in named)
        return (On(requested), *named) if by_default else named

    def trigger_for(self, event: str, data: Any) -> On | None:
        """The first of them that an event of this name and data fits."""
        return next((on for on in self.triggers if on.event == event and matches(on.match, data)), None)

    def has_listeners(self, mentions: Callable[[str], bool]) -> bool:
        """Whether somebody has to be told of its tasks' ends: a handler, or who mentions one of its events."""
        if self.handlers or self.policies.announce:
            return True
        return any(mentions(f"{self.name}.{ending}") for ending in ("completed", "failed", "cancelled"))

    def known_steps(self) -> list[StepDefinition]:
        """The steps that the body names, in the order in which it names them; those that helpers call are not seen."""
        return list(dict.fromkeys(steps_named_in(self.function)))

    def body_for(self, version: str) -> PipelineDefinition:
        """The definition whose body runs a task of this version: an old one that is kept for it, else this one."""
        return self.versions.get(version, self)
