"""Steps: functions whose results a task records."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from asgiref.sync import sync_to_async

from taskqueue.authoring.call_context import in_event_loop
from taskqueue.authoring.options import queue_of
from taskqueue.authoring.parallel import Deferred
from taskqueue.conf import settings
from taskqueue.context import ChildSpec, Suspension, current, current_step
from taskqueue.definitions import (
    KEY_MAX_LENGTH,
    STEP_NAME,
    StepDefinition,
    check_function,
    check_retry,
    check_timeout,
    registry,
)
from taskqueue.durations import Duration
from taskqueue.errors import DefinitionError, InvalidContext
from taskqueue.json_values import codec
from taskqueue.json_values.typed import Arguments, Result
from taskqueue.policies import Rate, Retry
from taskqueue.states import StepKind

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Step(Generic[P, R]):
    """A function that is a durable step when a pipeline's body calls it, and an ordinary function everywhere else."""

    def __init__(self, definition: StepDefinition, *, key: str = "") -> None:
        self.definition = definition
        self._key = key
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it. A pipeline's body gets the recorded result when it runs again.

        Raises:
            StepFailed: in a body, when the step's retries are used up.
        """
        task = current.get()
        if task is None or current_step.get():
            return cast("R", self.definition.active_function(*args, **kwargs))
        if self.definition.is_async:
            if not in_event_loop():
                raise InvalidContext(
                    f"Step {self.definition.name!r} is async and was called by a plain function, which cannot await "
                    "it. Make the pipeline `async def`, or the step a plain function."
                )
            return cast("R", task.acall(self.definition, self._key, args, kwargs))
        if in_event_loop():
            raise InvalidContext(
                f"Step {self.definition.name!r} is a plain function and was called in an async pipeline. "
                "Write `await step.aio(…)`, which runs it in the worker's own thread, or make it `async def`."
            )
        result: R = task.call(self.definition, self._key, args, kwargs)
        return result  # nothing may come in between: for `body_end` the body goes on when the engine returns

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Call a plain step from an async pipeline; it runs in the worker's own thread.

        Raises:
            InvalidContext: the step is async.
        """
        if self.definition.is_async:
            raise InvalidContext(f"Step {self.definition.name!r} is async: await it as it is, without aio().")
        task = current.get()
        if task is not None and not current_step.get():
            return cast("Awaitable[R]", task.acall(self.definition, self._key, args, kwargs))
        return sync_to_async(self.__call__)(*args, **kwargs)

    @overload
    def defer(self: Step[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]: ...

    @overload
    def defer(self, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]: ...

    def defer(self, *args: P.args, **kwargs: P.kwargs) -> Deferred[Any]:
        """Return the call for `gather`, which runs several at the same time, on any workers."""
        definition = self.definition

        def pause() -> Suspension:
            what = f"arguments of step {definition.name!r}"
            written = definition.arguments.write(args, kwargs, what=what)
            limit = settings().STEP_OUTPUT_MAX_BYTES
            codec.within(written, limit=limit, what=f"The {what}", setting="STEP_OUTPUT_MAX_BYTES")
            child_spec = ChildSpec(
                pipeline="", payload=written, parallel_step=definition.path, step_queue=definition.queue
            )
            return Suspension(kind=StepKind.PARALLEL, name=definition.name, input=written, child_spec=child_spec)

        return Deferred(
            name=definition.name,
            key=self._key,
            pause=pause,
            read=definition.result.read,
            call=lambda: definition.active_function(*args, **kwargs),
        )

    def named(self, key: str) -> Step[P, R]:
        """Return the step with a fixed key, for calls whose order may change.

        Raises:
            ValueError: the key is empty or too long.
        """
        if not 0 < len(key) <= KEY_MAX_LENGTH or not key.isprintable():
            raise ValueError(f"A step's key has 1 to {KEY_MAX_LENGTH} printable characters, not {key!r}.")
        return Step(self.definition, key=key)

    def __repr__(self) -> str:
        return f"<step {self.definition.name}>"


class StepOptions(TypedDict, total=False):
    """The options of `@step`."""

    name: str | None
    """By default the function's name. A fixed name survives a renamed function."""
    retry: Retry
    """When a failed attempt is retried; by default five times over 24 hours."""
    timeout: Duration | None
    """After this time StepTimedOut is raised inside the function."""
    rate: Rate | str | None
    """How often it may be called by all workers together; a name refers to a rate declared elsewhere."""
    queue: str | None
    """Its queue, in every pipeline: only workers that take it call the step; by default the pipeline's."""


class StepDecorator:
    """`@step`, plain or with options, or `@step.atomic`."""

    def __init__(self, *, atomic: bool = False) -> None:
        self._atomic = atomic

    @property
    def atomic(self) -> StepDecorator:
        """The function's ORM writes and the record of its result are one transaction: they happen exactly once."""
        return StepDecorator(atomic=True)

    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...

    @overload
    def __call__(self, /, **options: Unpack[StepOptions]) -> Callable[[Callable[P, R]], Step[P, R]]: ...

    def __call__(
        self, function: Callable[P, R] | None = None, /, **options: Unpack[StepOptions]
    ) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
        """Make a function a step. Its arguments and its result must match their annotations and be JSON-serializable.

        Raises:
            DefinitionError: an option or the function is not valid, with a hint.
        """

        def decorate(function: Callable[P, R]) -> Step[P, R]:
            definition = define(function, atomic=self._atomic, **options)
            registry.add_step(definition)
            return Step(definition)

        return decorate if function is None else decorate(function)


step = StepDecorator()


def define(
    function: Callable[..., Any],
    *,
    atomic: bool,
    name: str | None = None,
    retry: Retry = Retry(),  # noqa: B008 - frozen
    timeout: Duration | None = None,
    rate: Rate | str | None = None,
    queue: str | None = None,
) -> StepDefinition:
    what = f"Step {getattr(function, '__qualname__', function)!r}"
    check_function(function, what, decorator="@step")
    check_retry(retry, what)
    name = function.__name__.strip("_").replace("_", "-").lower() if name is None else name
    if not STEP_NAME.fullmatch(name):
        raise DefinitionError(
            f"{what} has the name {name!r}.",
            hint="Use small letters, digits, dots and hyphens: @step(name='charge-card').",
        )
    limit = check_timeout(timeout, what)
    if rate is not None and not isinstance(rate, Rate | str):
        raise DefinitionError(f"{what} has rate={rate!r}.", hint="Give it a Rate, or the name of one.")
    if atomic and inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{what} is async and atomic.", hint="Django has no async transactions: make it a plain function."
        )
    return StepDefinition(
        name=name,
        function=function,
        retry=retry,
        timeout=limit,
        atomic=atomic,
        rate=rate,
        queue="" if queue is None else queue_of(what, queue),
        arguments=Arguments(function),
        result=Result(function),
    )
