# ruff: noqa: F401 - names for the tests
"""The public names of Django's tasks framework, as a project imports them: Django 6's own, or its backport's."""

import django

if django.VERSION >= (6, 0):
    from django.tasks import Task, TaskContext, TaskResultStatus, default_task_backend, task, task_backends
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist, TaskResultMismatch
    from django.tasks.signals import task_enqueued, task_finished, task_started

    LOGGER = "django.tasks"
    DUMMY = "django.tasks.backends.dummy.DummyBackend"
else:
    from django_tasks import TaskContext, TaskResultStatus, default_task_backend, task, task_backends
    from django_tasks.base import Task
    from django_tasks.exceptions import InvalidTaskBackendError as InvalidTaskBackend
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultDoesNotExist, TaskResultMismatch
    from django_tasks.signals import task_enqueued, task_finished, task_started

    LOGGER = "django_tasks"
    DUMMY = "django_tasks.backends.dummy.DummyBackend"
