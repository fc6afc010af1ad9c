"""Pipelines: functions that become tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast

from asgiref.sync import sync_to_async
from django.db.models import Model

from taskqueue.authoring.call_context import refuse_in_body
from taskqueue.authoring.options import PipelineOptions, policies_of
from taskqueue.authoring.parallel import Deferred, call_child
from taskqueue.authoring.sleeping import MAX_WAIT
from taskqueue.authoring.task_ended import TaskEnded
from taskqueue.context import ChildSpec, Suspension
from taskqueue.definitions import (
    HANDLERS,
    PIPELINE_NAME,
    PipelineDefinition,
    check_function,
    check_retry,
    check_start_options,
    check_version,
    registry,
)
from taskqueue.durations import Duration, duration_of
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options, subject_of
from taskqueue.errors import DefinitionError, FieldError, InvalidOptions
from taskqueue.json_values.typed import Payload, Result
from taskqueue.models import Task
from taskqueue.policies import Retry
from taskqueue.states import StepKind

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class BoundPipeline(Generic[P, R]):
    """A pipeline with the options of one task."""

    definition: PipelineDefinition
    options: Options = field(default_factory=Options)
    timeout: timedelta | None = None
    """How long a body waits for the child."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """In a pipeline's body: run a child task with these options. Outside of tasks: a plain call.

        Raises:
            StepFailed: the child failed, was cancelled, exceeded its timeout or could not be created.
            InvalidContext: called inside a step.
        """
        return cast("R", call_child(self.defer(*args, **kwargs), is_async=self.definition.is_async))

    def defer(self, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """Return the call for `gather`, which runs several children at a time, or for `enqueue_many`."""
        definition = self.definition

        def pause() -> Suspension:
            payload = definition.payload.pack(args, kwargs)
            child_spec = ChildSpec(pipeline=definition.name, payload=payload, options=self.options)
            return Suspension(
                kind=StepKind.CHILD, name=definition.name, input=payload, delay=self.timeout, child_spec=child_spec
            )

        call = functools.partial(definition.function, *args, **kwargs)
        return Deferred(name=definition.name, key="", pause=pause, read=definition.result.read, call=call)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Create a task in the caller's transaction: a rollback removes it.

        Returns:
            The task. Its `duplicate` is true when it existed already and answers this request.

        Raises:
            InvalidPayload, NotSerializable, TooLarge: the arguments are not valid.
            KeyReused: the key belongs to a task with other arguments; no task was created.
            InvalidContext: called in a pipeline's body, which would repeat it; a step may call it.
        """
        refuse_in_body("enqueue()")
        refuse_timeout(self.timeout)
        return insert(self.definition, self.definition.payload.pack(args, kwargs), options=self.options)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Create a task from async code; see `enqueue`."""
        return await sync_to_async(self.enqueue)(*args, **kwargs)


class Pipeline(BoundPipeline[P, R]):
    """A function that becomes a task when it is enqueued; called outside of tasks, it is an ordinary function."""

    def __init__(self, definition: PipelineDefinition) -> None:
        super().__init__(definition)
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function)

    def on_failure(self, function: Callable[[TaskEnded], H]) -> Pipeline[[TaskEnded], H]:
        """Make a function the pipeline that runs once after each failed task of this pipeline.

        Raises:
            DefinitionError: it does not take one TaskEnded.
        """
        return self._add_handler("failed", function)

    def on_cancel(self, function: Callable[[TaskEnded], H]) -> Pipeline[[TaskEnded], H]:
        """Make a function the pipeline that runs once after each cancelled task; see `on_failure`."""
        return self._add_handler("cancelled", function)

    def _add_handler(self, outcome: str, function: Callable[[TaskEnded], H]) -> Pipeline[[TaskEnded], H]:
        name = f"{self.definition.name}.{HANDLERS[outcome]}"
        definition = define(function, name=name, retry=Retry(), options={"queue": self.definition.policies.queue})
        if definition.payload.model is not TaskEnded:
            raise DefinitionError(
                f"{function.__qualname__} is a handler of {self.definition.name!r} and does not take one TaskEnded.",
                hint="Give it one parameter: def handler(ended: TaskEnded).",
            )
        # The secrets in the payload of the ended task are secrets in the handler's payload too.
        definition.payload.describe_field("payload", self.definition.payload)
        registry.add(definition)
        self.definition.handlers[outcome] = definition
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
        """Return the pipeline with options for one task; `engine.enqueue.options.Options` explains them.

        Args:
            subject: a saved object that the task is about; its admin page can show the task (see `TasksOfObject`).
            timeout: how long a call in a body waits for the child before it cancels the child.

        Raises:
            InvalidOptions: an option is not valid.
        """
        limit = child_timeout(timeout)
        about = subject_of(subject) if subject is not None else ""
        options = Options(key=key, force=force, priority=priority, run_at=run_at, labels=labels or {}, subject=about)
        return BoundPipeline(self.definition, options, limit)

    def version(self, version: str) -> Callable[[F], F]:
        """Keep an old body for the tasks that were created under this `version` of the pipeline.

        The function stays an ordinary function. Its parameters must accept the payloads of those tasks. The version ""
        is that of tasks from before the pipeline had a version.

        Raises:
            DefinitionError: it is the current version, or has another body already.
        """

        definition, what = self.definition, f"Version {version!r} of pipeline {self.definition.name!r}"

        def decorate(function: F) -> F:
            check_function(function, what, decorator="@….version(…)")
            check_version(version, what)
            if version == definition.policies.version:
                hint = "Give the current body a new version: @pipeline(…, version=…)."
                raise DefinitionError(f"{what} is its current version.", hint=hint)
            if version in definition.versions:
                raise DefinitionError(f"{what} is defined twice.", hint="Keep one body for each version.")
            policies = replace(definition.policies, version=version)
            definition.versions[version] = replace(
                definition,
                function=function,
                payload=Payload(function),
                result=Result(function),
                policies=policies,
                versions={},
            )
            return function

        return decorate

    def __repr__(self) -> str:
        return f"<pipeline {self.definition.name}>"


def pipeline(
    name: str,
    *,
    retry: Retry = Retry(),  # noqa: B008 - frozen
    **options: Unpack[PipelineOptions],
) -> Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Make a function a pipeline.

    Args:
        name: its name in the API and the admin, such as "shop/fulfil".
        retry: when the body is retried after an error that it raised itself, between its steps.
        options: see `PipelineOptions`.

    Raises:
        DefinitionError: an option or the function is not valid, with a hint.
    """

    def decorate(function: Callable[P, R]) -> Pipeline[P, R]:
        definition = define(function, name=name, retry=retry, options=options)
        registry.add(definition)
        return Pipeline(definition)

    return decorate


def define(function: Callable[..., Any], *, name: str, retry: Retry, options: PipelineOptions) -> PipelineDefinition:
    check_function(function, f"Pipeline {name!r}", decorator="@pipeline")
    check_retry(retry, f"Pipeline {name!r}")
    if not PIPELINE_NAME.fullmatch(name) or len(name) > 200:
        raise DefinitionError(
            f"A pipeline is called {name!r}.",
            hint="Use small letters, digits, dots and hyphens, separated by slashes: 'shop/fulfil'.",
        )
    definition = PipelineDefinition(
        name=name,
        function=function,
        retry=retry,
        payload=Payload(function),
        result=Result(function),
        policies=policies_of(name, options),
    )
    check_start_options(definition)
    return definition


def refuse_timeout(timeout: timedelta | None) -> None:
    """Refuse the timeout of a child for a task that is enqueued.

    Raises:
        InvalidOptions
    """
    if timeout is not None:
        error = FieldError("/timeout", "A timeout is for a call in a pipeline's body; enqueue() does not wait.")
        raise InvalidOptions(error.detail, [error])


def child_timeout(timeout: Duration | None) -> timedelta | None:
    try:
        limit = None if timeout is None else duration_of(timeout, "The timeout")
        if limit is None or timedelta(0) < limit <= MAX_WAIT:
            return limit
        detail = f"The timeout is a timedelta above 0, of at most {MAX_WAIT.days:,} days."
    except ValueError as error:
        detail = str(error)
    raise InvalidOptions(f"The task's options are not valid: {detail}", [FieldError("/timeout", detail)])
