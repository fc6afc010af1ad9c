"""The public names of Django's tasks framework: those of Django 6, or of its backport. Untyped, since they differ."""

from importlib import import_module
from typing import Any

import django
from django.test import override_settings

IS_CORE = django.VERSION >= (6, 0)
PACKAGE = "django.tasks" if IS_CORE else "django_tasks"
"""Also the name of its logger."""
DUMMY = f"{PACKAGE}.backends.dummy.DummyBackend"

BACKEND = "taskqueue.django_tasks.TaskqueueBackend"
# `@task` asks for its backend at once, and the demo project has none.
override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": []}}).enable()

package: Any = import_module(PACKAGE)
base: Any = import_module(f"{PACKAGE}.base")
exceptions: Any = import_module(f"{PACKAGE}.exceptions")
signals: Any = import_module(f"{PACKAGE}.signals")

task, task_backends, default_task_backend = package.task, package.task_backends, package.default_task_backend
Task, TaskContext, TaskResultStatus = base.Task, base.TaskContext, base.TaskResultStatus
InvalidTask = exceptions.InvalidTask if IS_CORE else exceptions.InvalidTaskError
InvalidTaskBackend = exceptions.InvalidTaskBackend if IS_CORE else exceptions.InvalidTaskBackendError
TaskResultDoesNotExist, TaskResultMismatch = exceptions.TaskResultDoesNotExist, exceptions.TaskResultMismatch
