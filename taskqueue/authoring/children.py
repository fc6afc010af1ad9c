"""Children: a pipeline that a body calls like a step becomes a task of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from taskqueue.authoring.call_context import calling_task
from taskqueue.authoring.parallel import Deferred, outcome_of, pause_of
from taskqueue.context import ChildSpec, Suspension
from taskqueue.definitions import PipelineDefinition
from taskqueue.engine.enqueue.options import Options
from taskqueue.errors import StepFailed
from taskqueue.states import StepKind


def child_call(
    definition: PipelineDefinition,
    options: Options,
    timeout: timedelta | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Deferred[Any]:
    """Return the deferred call of a pipeline that becomes a child task."""

    def pause() -> Suspension:
        payload = definition.payload.pack(args, kwargs)
        child_spec = ChildSpec(pipeline=definition.name, payload=payload, options=options)
        return Suspension(
            kind=StepKind.CHILD, name=definition.name, input=payload, delay=timeout, child_spec=child_spec
        )

    call: Callable[[], Any] = partial(definition.function, *args, **kwargs)
    return Deferred(name=definition.name, key="", pause=pause, read=definition.result.read, call=call)


def call_child(definition: PipelineDefinition, call: Deferred[Any]) -> Any:
    """In a body: the result of a child. Outside of tasks: the result of a plain call.

    Raises:
        StepFailed: the child failed, was cancelled, exceeded its timeout or could not be created.
        InvalidContext: called inside a step.
    """
    task = calling_task(f"Pipeline {definition.name!r}")
    if task is None:
        return call.call()
    (recorded,) = task.suspend([pause_of(call, None)])
    outcome = outcome_of(call, recorded)
    if isinstance(outcome, StepFailed):
        raise outcome
    return awaitable(outcome) if definition.is_async else outcome


async def awaitable(value: object) -> object:
    return value
