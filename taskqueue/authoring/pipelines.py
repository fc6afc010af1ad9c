"""Pipelines: functions whose calls become tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast

from asgiref.sync import sync_to_async
from django.db.models import Model

from taskqueue.authoring.children import call_child, deferred
from taskqueue.authoring.ends import TaskEnded
from taskqueue.authoring.options import PipelineOptions, policies_of
from taskqueue.authoring.parallel import Deferred
from taskqueue.authoring.sleeping import LONGEST
from taskqueue.authoring.versions import keep
from taskqueue.codec import Payload, Result
from taskqueue.context import current, current_step
from taskqueue.definitions import (
    HANDLERS,
    PIPELINE_NAME,
    PipelineDefinition,
    check_function,
    check_retry,
    check_starts,
    registry,
)
from taskqueue.durations import Duration, duration_of
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options, subject_of
from taskqueue.errors import DefinitionError, FieldError, InvalidContext, InvalidOptions
from taskqueue.models import Task
from taskqueue.policies import Retry

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class BoundPipeline(Generic[P, R]):
    """A pipeline with the options of the task that is to be made of it."""

    definition: PipelineDefinition
    options: Options
    timeout: timedelta | None = None
    """Of a child."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """In a pipeline's body: a child task with these options, and its result. Outside of tasks: a plain call.

        Raises:
            StepFailed: the child failed, was cancelled, was too slow or could not be made.
            InvalidContext: called inside a step.
        """
        return cast("R", call_child(self.definition, self.defer(*args, **kwargs)))

    def defer(self, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """The call of a child for `gather`, which makes it beside others."""
        return deferred(self.definition, self.options, self.timeout, args, kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Make a task, in the caller's transaction: a rollback takes it along.

        Returns:
            The task; its `duplicate` is true when it was there already and stands in for the one that was asked for.

        Raises:
            InvalidPayload, NotSerializable, TooLarge: the arguments do not fit.
            KeyReused: the key stands for a task that was made from other arguments; nothing was made.
            InvalidContext: called in a pipeline's body, where it would be repeated; a step may call it.
        """
        if current.get() is not None and not current_step.get():
            raise InvalidContext(
                "enqueue() was called in a pipeline's body, which runs again from its beginning after every pause. "
                "Call it in a step."
            )
        if self.timeout is not None:
            fault = FieldError("/timeout", "A timeout is for a call in a pipeline's body; enqueue() does not wait.")
            raise InvalidOptions(fault.detail, [fault])
        return insert(self.definition, self.definition.payload.pack(args, kwargs), options=self.options)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """The same from async code."""
        return await sync_to_async(self.enqueue)(*args, **kwargs)


class Pipeline(Generic[P, R]):
    """A function that becomes a task when it is enqueued, and is an ordinary function when it is called."""

    def __init__(self, definition: PipelineDefinition) -> None:
        self.definition = definition
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """In a pipeline's body: a child task of its own, and its result. Outside of tasks: a plain call.

        Raises:
            StepFailed: the child failed, was cancelled or could not be made.
            InvalidContext: called inside a step.
        """
        return self.using()(*args, **kwargs)

    def defer(self, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """The call of a child for `gather`, which makes it beside others."""
        return self.using().defer(*args, **kwargs)

    def on_failure(self, function: Callable[[TaskEnded], H]) -> Pipeline[[TaskEnded], H]:
        """Make a function the pipeline that runs once after each task of this one that failed.

        Raises:
            DefinitionError: it does not take one TaskEnded.
        """
        return self._handle("failed", function)

    def on_cancel(self, function: Callable[[TaskEnded], H]) -> Pipeline[[TaskEnded], H]:
        """The same after each task that was cancelled."""
        return self._handle("cancelled", function)

    def _handle(self, ending: str, function: Callable[[TaskEnded], H]) -> Pipeline[[TaskEnded], H]:
        """Define a handler. What is secret in the payload of the task that has ended is secret in its own, too."""
        definition = define(function, name=f"{self.definition.name}.{HANDLERS[ending]}", retry=Retry(), options={})
        if definition.payload.model is not TaskEnded:
            raise DefinitionError(
                f"{function.__qualname__} handles the end of {self.definition.name!r} and takes something else.",
                hint="Give it one parameter: def handler(ended: TaskEnded).",
            )
        definition.payload.hold("payload", self.definition.payload)
        registry.add(definition)
        self.definition.handlers[ending] = definition
        return Pipeline(definition)

    def using(
        self,
        *,
        key: str = "",
        force: bool = False,
        priority: int = 0,
        run_at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        subject: Model | None = None,
        timeout: Duration | None = None,
    ) -> BoundPipeline[P, R]:
        """The pipeline with options for one task; see `engine.enqueue.options.Options` for what they mean.

        Args:
            subject: a saved object that the task is about; its admin page can show the task (see `TasksOfObject`).
            timeout: of a call in a body: how long it waits for the child, which is cancelled then.

        Raises:
            InvalidOptions: one of them is not valid.
        """
        limit = child_timeout(timeout)
        about = subject_of(subject) if subject is not None else ""
        options = Options(key=key, force=force, priority=priority, run_at=run_at, labels=labels or {}, subject=about)
        return BoundPipeline(self.definition, options, limit)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Make a task without options; see `BoundPipeline.enqueue`."""
        return self.using().enqueue(*args, **kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """The same from async code."""
        return await self.using().aenqueue(*args, **kwargs)

    def version(self, version: str) -> Callable[[F], F]:
        """Keep an old body for the tasks that were made while this was the pipeline's `version`.

        The function stays an ordinary one. Its parameters must accept the payloads of those tasks. An empty text stands
        for the time before the pipeline had a version.

        Raises:
            DefinitionError: it is the present version, or there is another body for it.
        """

        def decorate(function: F) -> F:
            keep(self.definition, version, function)
            return function

        return decorate

    def __repr__(self) -> str:
        """For people."""
        return f"<pipeline {self.definition.name}>"


def pipeline(
    name: str,
    *,
    retry: Retry = Retry(),  # noqa: B008 - frozen
    **options: Unpack[PipelineOptions],
) -> Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a function a pipeline.

    Args:
        name: by which the API and the admin know it, such as "shop/fulfil".
        retry: when the body is tried again after an error that it raised itself, between its steps.
        options: see `PipelineOptions`.

    Raises:
        DefinitionError: it cannot work, with a hint.
    """

    def decorate(function: Callable[P, R]) -> Pipeline[P, R]:
        definition = define(function, name=name, retry=retry, options=options)
        registry.add(definition)
        return Pipeline(definition)

    return decorate


def define(function: Callable[..., Any], *, name: str, retry: Retry, options: PipelineOptions) -> PipelineDefinition:
    """Check a pipeline's parts and put them together."""
    check_function(function, f"Pipeline {name!r}", decorator="@pipeline")
    check_retry(retry, f"Pipeline {name!r}")
    if not PIPELINE_NAME.fullmatch(name) or len(name) > 200:
        raise DefinitionError(
            f"A pipeline is called {name!r}.",
            hint="Use small letters, digits, dots and hyphens, parted by slashes: 'shop/fulfil'.",
        )
    definition = PipelineDefinition(
        name=name,
        function=function,
        retry=retry,
        payload=Payload(function),
        result=Result(function),
        policies=policies_of(name, options),
    )
    check_starts(definition)
    return definition


def child_timeout(timeout: Duration | None) -> timedelta | None:
    """How long a body waits for a child.

    Raises:
        InvalidOptions: it is no duration, nothing or too long.
    """
    try:
        limit = None if timeout is None else duration_of(timeout, "The timeout")
        if limit is None or timedelta(0) < limit <= LONGEST:
            return limit
        detail = f"The timeout is a timedelta above nothing, of at most {LONGEST.days:,} days."
    except ValueError as error:
        detail = str(error)
    raise InvalidOptions(f"The task's options are not valid: {detail}", [FieldError("/timeout", detail)])
