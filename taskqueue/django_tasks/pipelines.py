"""How a `@task` function becomes a pipeline with one step (docs/adr/0015-django-tasks.md)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, update_wrapper
from typing import Any, Final

from taskqueue.authoring import BoundPipeline, Retry, Step, pipeline, step
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.django_tasks.calls import calling, calling_async
from taskqueue.django_tasks.framework import AnyTask, BaseTaskBackend, InvalidTask, normalize_json
from taskqueue.django_tasks.options import OptionsOfTask, options_of
from taskqueue.django_tasks.payload import (
    NO_ARGUMENTS,
    PRIORITY_SECONDS,
    TaskCall,
    TaskCallByPath,
    Using,
    import_task,
    path_of,
)
from taskqueue.engine.enqueue.options import Options
from taskqueue.models import Task as TaskRow
from taskqueue.queues import DEFAULT_QUEUE

BY_PATH: Final = "django-tasks/by-path"
"""The pipeline of all tasks of the default backend that have none of their own; others have their alias after it."""


def create_task(task: AnyTask, args: Any, kwargs: Any) -> TaskRow:
    """Create a task in the caller's transaction.

    Raises:
        InvalidTask: no worker could import it.
        TypeError: an argument is no JSON value.
        NotSerializable, TooLarge, InvalidContext: as `BoundPipeline.enqueue` says.
    """
    path = task.module_path
    try:
        original = import_task(path)
    except ImportError as error:
        raise InvalidTask(f"{path} is not the task: a worker could not import it. {error}") from error
    if original.func is not task.func:
        raise InvalidTask(f"{path} is not the task: a worker could not import it. Give it the name of its function.")
    values: dict[str, Any] = {"args": normalize_json(args), "kwargs": normalize_json(kwargs)}
    call = TaskCall(**values, using=changes(task, original))
    definition = own_pipeline(path)
    if definition is None:
        refuse_pipeline_options(original)
        definition, call = pipeline_by_path(task.get_backend()), TaskCallByPath(**dict(call), task=path)
    options = Options(priority=task.priority * PRIORITY_SECONDS, run_at=task.run_after)
    return BoundPipeline[[TaskCall], Any](definition, options).enqueue(call)


def changes(task: AnyTask, original: AnyTask) -> Using:
    """What `using()` changed that a task's row does not show."""
    found: Using = {}
    if task.queue_name != original.queue_name:
        found["queue_name"] = task.queue_name
    if task.backend != original.backend:
        found["backend"] = task.backend
    if task.run_after is not None:
        found["run_after"] = task.run_after.isoformat()
    return found


def own_pipeline(path: str) -> PipelineDefinition | None:
    """The pipeline of the task at this path; None if it has none."""
    definition = registry.by_name().get(pipeline_name(path))
    return definition if definition is not None and path_of(definition.function) == path else None


def pipeline_name(path: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", path.lower()).lstrip("._-")


def add_pipeline(task: AnyTask) -> None:
    """Register the pipeline of a task, and its step. Again for a function that is imported again.

    Raises:
        DefinitionError: an option is not valid, or another pipeline has the name.
    """
    call = step_of(task)

    def body(request: TaskCall = NO_ARGUMENTS) -> Any:
        called = in_queue(call, task.queue_name, request)
        return called(request.args, request.kwargs)

    async def async_body(request: TaskCall = NO_ARGUMENTS) -> Any:
        called = in_queue(call, task.queue_name, request)
        return await called(request.args, request.kwargs)

    function = imitate(task.func, async_body if is_async(task) else body)
    function.__annotations__ = {"request": TaskCall, "return": Any}
    options = task_options_of(task)
    retry = options.step.get("retry", Retry())
    pipeline(pipeline_name(task.module_path), retry=retry, queue=task.queue_name, **options.pipeline)(function)


def pipeline_by_path(backend: BaseTaskBackend) -> PipelineDefinition:
    """The pipeline of a backend's tasks that have none of their own: it imports each function.

    Raises:
        DefinitionError: an option of the backend is not valid.
    """
    name = BY_PATH if backend.alias == "default" else f"{BY_PATH}/{pipeline_name(backend.alias)}"
    if name not in registry.by_name():

        def by_path(request: TaskCallByPath) -> Any:
            """Runs `@task` functions of modules that are not imported at start (docs/capabilities/django-tasks.md)."""
            task = import_task(request.task).using(backend=request.using.get("backend"))
            called = in_queue(step_of(task, by_path=True), DEFAULT_QUEUE, request, of_task=task.queue_name)
            return called(request.args, request.kwargs)

        by_path.__annotations__ = {"request": TaskCallByPath, "return": Any}
        pipeline(name, **options_of(by_path, backend.options).pipeline)(by_path)
    return registry.get(name)


def in_queue(call: Step[..., Any], queue: str, request: TaskCall, of_task: str = "") -> Step[..., Any]:
    """The step in the queue of this request, if that is another one than its pipeline's."""
    wanted = request.using.get("queue_name") or of_task or queue
    return call if wanted == queue else Step(replace(call.definition, queue=wanted))


@cache
def step_of(task: AnyTask, *, by_path: bool = False) -> Step[..., Any]:
    """The step that calls a task's function. By path an async one too is called in a thread.

    Raises:
        DefinitionError
    """
    options = {"retry": Retry(), **task_options_of(task).step}
    makes_async = is_async(task) and not by_path
    function = imitate(
        task.func, calling_async(task, options["retry"]) if makes_async else calling(task, options["retry"])
    )
    function.__annotations__ = {"args": list[Any], "kwargs": dict[str, Any], "return": Any}
    name = pipeline_name(task.name)[:100] or "task"
    return (step.atomic if options.pop("atomic", False) else step)(name=name, **options)(function)


def is_async(task: AnyTask) -> bool:
    return inspect.iscoroutinefunction(task.func)


def task_options_of(task: AnyTask) -> OptionsOfTask:
    return options_of(task.func, task.get_backend().options)


def refuse_pipeline_options(task: AnyTask) -> None:
    """Refuse to ignore limits and other options of a pipeline that the task does not have."""
    if options := options_of(task.func, {}).pipeline:
        raise InvalidTask(
            f"{task.module_path} has {', '.join(options)} and no pipeline of its own. Import it in the module "
            "`tasks` of an installed app, or call taskqueue.django_tasks.register_tasks() in the app's ready()."
        )


def imitate(author: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the name, docstring and source of the author's, which the admin and the fingerprint show.

    Its signature stays its own: `inspect` would follow `__wrapped__`.
    """
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return update_wrapper(function, author, assigned=("__module__", "__name__", "__qualname__", "__doc__"), updated=())
