"""Run Django's `@task` functions on this engine; see docs/capabilities/django-tasks.md.

    TASKS = {"default": {"BACKEND": "taskqueue.django_tasks.TaskqueueBackend"}}

Django imports this package before its models can exist.
"""

from taskqueue.django_tasks.backend import TaskqueueBackend, register_tasks
from taskqueue.django_tasks.options import task_options
from taskqueue.django_tasks.outcomes import TaskCancelled, WorkerLost

__all__ = ["TaskCancelled", "TaskqueueBackend", "WorkerLost", "register_tasks", "task_options"]
