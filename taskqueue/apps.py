"""The Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules

from taskqueue.defaults import complete_settings


class TaskqueueConfig(AppConfig):
    """Imports every installed app's pipelines and keeps their rows up to date."""

    name = "taskqueue"
    verbose_name = "Task queue"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        """Complete the settings before Django loads the next app: django-q2 reads its settings at import."""
        super().__init__(app_name, app_module)
        complete_settings()

    def ready(self) -> None:
        """Import each app's pipelines and tasks, and write their definitions to the database after each migrate."""
        from taskqueue import checks  # noqa: F401 - registers the checks; needs loaded models
        from taskqueue.engine.alerts.evaluate import add_default_rules_after_migrate
        from taskqueue.engine.catalog.sync import sync_after_migrate
        from taskqueue.pool.queue_lists import hide_queue_lists
        from taskqueue.pool.signing import use_own_key

        use_own_key()
        hide_queue_lists()
        autodiscover_modules("pipelines")
        discover_tasks()
        post_migrate.connect(sync_after_migrate, sender=self)
        post_migrate.connect(add_default_rules_after_migrate, sender=self)
        request_started.connect(set_up_web_process, dispatch_uid="taskqueue")


def discover_tasks() -> None:
    """Register the `@task` functions of Django's tasks framework (Django 6, or its backport), if TASKS is set."""
    if not settings.is_overridden("TASKS"):  # type: ignore[misc]  # not in the stubs
        return
    try:
        from taskqueue.django_tasks.backend import discover_tasks as discover
    except ModuleNotFoundError as error:
        if error.name != "django_tasks":
            raise
    else:
        discover()


def set_up_web_process(*, sender: Any, **_signal: Any) -> None:
    """On the first request, set this process up as a web process, WSGI or ASGI. No connection is open before it."""
    from taskqueue.api.tasks.status import task_status
    from taskqueue.api.tasks.stream import task_stream
    from taskqueue.engine.runtime.sessions import close_all, use_web_sessions

    use_web_sessions()
    if isinstance(sender, type) and issubclass(sender, ASGIHandler):
        task_status.become_async()
        task_stream.become_async()
        request_finished.connect(close_all, dispatch_uid="taskqueue")
    request_started.disconnect(dispatch_uid="taskqueue")
