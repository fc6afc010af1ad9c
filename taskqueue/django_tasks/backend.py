"""The backend for Django's `TASKS` setting. Each `@task` function is a pipeline with one step; see `pipelines`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, ParamSpec, TypeVar

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string, module_has_submodule

from taskqueue.defaults import APPS
from taskqueue.django_tasks.framework import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResult,
    task_backends,
    task_enqueued,
)
from taskqueue.django_tasks.options import check_names
from taskqueue.errors import DefinitionError
from taskqueue.queues import QUEUE_NAME_RULE, is_queue_name

P = ParamSpec("P")
R = TypeVar("R")

decorated: Final[dict[str, AnyTask]] = {}
"""The tasks that `@task` has made for this backend in this process, by the path of their function."""


class TaskqueueBackend(BaseTaskBackend):
    """Runs `@task` functions on taskqueue's workers, with retries, limits, recovery and the admin."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: AnyTask) -> None:
        """Check a task; Django calls this for each `@task` and `using()`, and `enqueue` calls it again.

        Raises:
            InvalidTask
        """
        super().validate_task(task)
        if not is_queue_name(task.queue_name):
            raise InvalidTask(f"Queue {task.queue_name!r} is not valid for backend. {QUEUE_NAME_RULE}")
        known = decorated.get(task.module_path)
        if known is None or known.func is not task.func:
            decorated[task.module_path] = task

    def enqueue(self, task: Task[P, R], args: Any, kwargs: Any) -> TaskResult[P, R]:
        """Create a task in the caller's transaction: a rollback removes it, and no worker sees it before the commit.

        Raises:
            InvalidTask: it is not valid, or no worker could import it.
            TypeError: an argument is no JSON value.
            NotSerializable, TooLarge: PostgreSQL cannot store the arguments as JSON, or they are too large.
        """
        from taskqueue.django_tasks.pipelines import create_task
        from taskqueue.django_tasks.results import read_result, result_of_new

        self.validate_task(task)
        row = create_task(task, args, kwargs)
        result: Any = read_result(str(row.pk)) if row.duplicate else result_of_new(row, task, args, kwargs)
        # A receiver that raises is logged: the task exists, and a caller that saw an error would enqueue another one.
        task_enqueued.send_robust(type(self), task_result=result)
        return result  # type: ignore[no-any-return]

    def get_result(self, result_id: str) -> AnyResult:
        """Read a task's result.

        Raises:
            TaskResultDoesNotExist: there is no such task, it has been pruned, or its function is gone.
        """
        from taskqueue.django_tasks.results import read_result

        return read_result(result_id)

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        found: list[CheckMessage] = [*super().check(**kwargs)]
        what = f"TASKS[{self.alias!r}]"
        if not apps.is_installed("taskqueue"):
            hint = "Use taskqueue.defaults.with_apps(INSTALLED_APPS)."
            found.append(
                Error(f"{what} needs the app taskqueue, which is not installed.", hint=hint, id="taskqueue.E012")
            )
        found += [
            Error(f"{what} has the queue {name!r}.", hint=QUEUE_NAME_RULE, id="taskqueue.E013")
            for name in sorted(map(str, self.queues))
            if not is_queue_name(name)
        ]
        try:
            check_names(f"OPTIONS of {what}", self.options)
        except DefinitionError as error:
            found.append(Error(str(error), id="taskqueue.E014"))
        return found


def discover_tasks() -> None:
    """Import each app's `tasks` module and register its tasks, if `TASKS` names this backend."""
    if not our_backends():
        return
    for app in apps.get_app_configs():
        if app.name not in APPS and module_has_submodule(app.module, "tasks"):
            import_module(f"{app.name}.tasks")
    register_tasks()


def our_backends() -> list[BaseTaskBackend]:
    backends: dict[str, Any] = getattr(settings, "TASKS", {})
    return [task_backends[alias] for alias, parameters in backends.items() if is_ours(str(parameters.get("BACKEND")))]


def is_ours(path: str) -> bool:
    """Whether a path names this backend or a subclass; one that cannot be imported is Django's to report."""
    try:
        found = import_string(path)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, TaskqueueBackend)


def register_tasks() -> None:
    """Give each `@task` function that is imported so far a pipeline of its own.

    That happens at start for those that the apps' `tasks` modules define or import. Call it yourself in a test that
    defines tasks, or in the `ready()` of an app whose tasks are elsewhere, after their import: then every process does.

    Raises:
        DefinitionError: an option is not valid.
    """
    from taskqueue.django_tasks.pipelines import add_pipeline, pipeline_by_path

    for backend in our_backends():
        pipeline_by_path(backend)
    for task in decorated.values():
        add_pipeline(task)
