"""The payload of a task: a call of its function, and what the caller has changed with `using()`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import Any, Final, Literal

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import import_string
from pydantic import BaseModel, ConfigDict, Field, field_validator

from taskqueue.definitions import PipelineDefinition
from taskqueue.django_tasks.framework import AnyTask, Task
from taskqueue.queues import DEFAULT_QUEUE, QUEUE_NAME_RULE, is_queue_name

Using = dict[Literal["queue_name", "run_after", "backend"], str]

PRIORITY_SECONDS: Final = 6
"""Seconds of our priority for each of Django's, so that -100 to 100 are -600 to 600."""


class TaskCall(BaseModel):
    """The payload of a task: a call of its function."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    args: list[Any] = Field(default_factory=list, description="The positional arguments.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="The keyword arguments.")
    using: Using = Field(default_factory=dict, description="What using() changed.", examples=[{}])

    @field_validator("using")
    @classmethod
    def check_queue(cls, using: Using) -> Using:
        if not is_queue_name(using.get("queue_name", DEFAULT_QUEUE)):
            raise ValueError(QUEUE_NAME_RULE)
        return using

    def applied_to(self, task: AnyTask, priority: int = 0) -> AnyTask:
        """The task as the caller has enqueued it, with the priority of its row."""
        run_after = self.using.get("run_after")
        changes = {
            "queue_name": self.using.get("queue_name", task.queue_name),
            "backend": self.using.get("backend", task.backend),
            "run_after": None if run_after is None else datetime.fromisoformat(run_after),
            "priority": round(priority / PRIORITY_SECONDS),
        }
        applied = copy(task)  # not `using()`, which refuses a queue or a backend that the settings had at that time
        for name, value in changes.items():
            object.__setattr__(applied, name, value)
        return applied


class TaskCallByPath(TaskCall):
    """The payload of a task that has no pipeline of its own."""

    task: str = Field(description="The import path of the @task function.")


NO_ARGUMENTS: Final = TaskCall()


def import_task(path: str) -> AnyTask:
    """Import the task at this path.

    Payloads come from callers of the API too, and a first import runs the code of a module: so no module is imported
    but those of the project.

    Raises:
        ImportError: there is none, or it is in another package than those of the project.
    """
    if path.rpartition(".")[0] not in sys.modules and path.partition(".")[0] not in project_packages():
        raise ImportError(f"{path} is outside of the packages of INSTALLED_APPS, ROOT_URLCONF and the settings.")
    found = import_string(path)
    if not isinstance(found, Task):
        raise ImportError(f"{path} is no @task function.")  # noqa: TRY004 - as for a missing name
    return found


def project_packages() -> set[str]:
    """The top-level packages of the installed apps, of the settings and of ROOT_URLCONF."""
    modules = [app.name for app in apps.get_app_configs()]
    modules += [str(getattr(settings, name, "")) for name in ("SETTINGS_MODULE", "ROOT_URLCONF")]
    return {module.partition(".")[0] for module in modules} - {""}


def task_at(path: str) -> AnyTask | None:
    """The task at this path; None without one."""
    try:
        return import_task(path)
    except ImportError:
        return None


def task_of(definition: PipelineDefinition | None, call: TaskCall) -> AnyTask | None:
    """The task of a row by its pipeline and payload; None if its function is gone."""
    if isinstance(call, TaskCallByPath):
        return task_at(call.task)
    return None if definition is None else task_at(path_of(definition.function))


def path_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
