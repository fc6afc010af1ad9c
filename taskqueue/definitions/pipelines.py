"""Pipelines as their authors defined them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

from taskqueue.definitions.steps import StepDefinition, referenced_steps
from taskqueue.json_values.typed import Payload, Result
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
from taskqueue.queues import DEFAULT_QUEUE

HANDLERS: Final = {"failed": "on-failure", "cancelled": "on-cancel"}
"""The last part of a handler's name, by the outcome that it handles."""
DELIVERY: Final = "taskqueue/deliver-webhook"
"""The pipeline whose tasks call subscribers."""
ALERT: Final = "taskqueue/deliver-alert"
"""The pipeline whose tasks send messages about alerts."""
INTERNAL: Final = frozenset({DELIVERY, f"{DELIVERY}.{HANDLERS['failed']}", ALERT})
"""Pipelines of taskqueue itself: no caller can submit a task of them, and their ends are not delivered."""


def pipeline_of_handler(pipeline: str) -> str:
    """Return the name of the pipeline that a handler of this name belongs to; "" if it is no handler."""
    name, _dot, suffix = pipeline.rpartition(".")
    return name if suffix in HANDLERS.values() else ""


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The options of a pipeline; `authoring.options.PipelineOptions` explains each."""

    version: str = ""
    queue: str = DEFAULT_QUEUE
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
    idempotent: bool = False

    @property
    def key_template(self) -> KeyTemplate | None:
        """The template of the concurrency key: the one key of all its limits and of its throttle."""
        limits = (*self.concurrency, *self.step_concurrency, *filter(None, [self.throttle]))
        return next((limit.template for limit in limits if limit.template is not None), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class PipelineDefinition:
    name: str
    function: Callable[..., Any]
    retry: Retry
    """For errors that the body itself raises between its steps."""
    payload: Payload
    result: Result
    policies: Policies = Policies()
    handlers: dict[str, PipelineDefinition] = field(default_factory=dict)
    """The pipelines that run after a task with the outcome "failed" or "cancelled"."""
    versions: dict[str, PipelineDefinition] = field(default_factory=dict)
    """Old bodies that are kept for tasks of their version."""

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def description(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def throttle_name(self) -> str:
        """The name of the throttle's rate; the pipeline's name by default, "" without a throttle."""
        throttle = self.policies.throttle
        return "" if throttle is None else throttle.name or self.name

    @property
    def triggers(self) -> tuple[On, ...]:
        """The events that start it: `<name>.requested`, unless its author replaced that one, and those of `on`."""
        requested = f"{self.name}.requested"
        own = self.policies.on
        by_default = self.name not in INTERNAL and is_event_name(requested) and all(on.event != requested for on in own)
        return (On(requested), *own) if by_default else own

    def trigger_for(self, event: str, data: Any) -> On | None:
        """Return the first trigger that this event matches, or None."""
        return next((on for on in self.triggers if on.event == event and matches(on.match, data)), None)

    @cached_property
    def end_events(self) -> frozenset[str]:
        """The events that are emitted when its tasks end."""
        return frozenset(f"{self.name}.{ending}" for ending in ("completed", "failed", "cancelled"))

    def has_listeners(self, mentioned: frozenset[str]) -> bool:
        """Whether an event must be emitted when its tasks end: for a handler, or for code that mentions the event.

        Args:
            mentioned: the events that the code of all pipelines mentions.
        """
        return bool(self.handlers) or self.policies.announce or not self.end_events.isdisjoint(mentioned)

    def steps_in_body(self) -> list[StepDefinition]:
        """Return the steps that the body names, in order. Steps that the body's helper functions call are not found."""
        return list(dict.fromkeys(referenced_steps(self.function)))

    def body_for(self, version: str) -> PipelineDefinition:
        """Return the old definition that is kept for this version, or else this definition."""
        return self.versions.get(version, self)
