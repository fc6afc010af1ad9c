"""Children: a pipeline that a body calls as if it were a step becomes a task of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from taskqueue.authoring.parallel import Deferred, asked, outcome_of
from taskqueue.authoring.places import body
from taskqueue.context import Offspring, Pause
from taskqueue.definitions import PipelineDefinition
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import StepFailed
from taskqueue.states import StepKind


def deferred(
    definition: PipelineDefinition,
    options: Options,
    timeout: timedelta | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Deferred[Any]:
    """The call of a pipeline that is to become a child."""

    def pause() -> Pause:
        payload = definition.payload.pack(args, kwargs)
        offspring = Offspring(pipeline=definition.name, payload=payload, options=options)
        return Pause(kind=StepKind.CHILD, name=definition.name, input=payload, delay=timeout, offspring=offspring)

    call: Callable[[], Any] = partial(definition.function, *args, **kwargs)
    return Deferred(name=definition.name, key="", pause=pause, read=definition.result.read, call=call)


def call_child(definition: PipelineDefinition, call: Deferred[Any]) -> Any:
    """In a body: the result of a child; outside of tasks: of the plain call.

    Raises:
        StepFailed: the child failed, was cancelled, was too slow or could not be made.
        InvalidContext: called inside a step.
    """
    task = body(f"Pipeline {definition.name!r}")
    if task is None:
        return call.call()
    (recorded,) = task.pause([asked(call, None)])
    outcome = outcome_of(call, recorded)
    if isinstance(outcome, StepFailed):
        raise outcome
    return later(outcome) if definition.is_async else outcome


async def later(value: object) -> object:
    """A value that its caller awaits."""
    return value
