"""The Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules

from taskqueue.defaults import complete_settings


class TaskqueueConfig(AppConfig):
    """Finds every installed app's pipelines and keeps their rows up to date."""

    name = "taskqueue"
    verbose_name = "Task queue"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        """Complete the settings before Django loads the next app: django-q2 reads its own when it is imported."""
        super().__init__(app_name, app_module)
        complete_settings()

    def ready(self) -> None:
        """Import each installed app's `pipelines` module, and mirror what they define after each migrate."""
        from taskqueue import checks  # noqa: F401 - registers the checks; needs loaded models
        from taskqueue.engine.mirror import mirror_after_migrate
        from taskqueue.workers.queue_lists import hide_queue_lists
        from taskqueue.workers.signing import use_own_key

        use_own_key()
        hide_queue_lists()
        autodiscover_modules("pipelines")
        post_migrate.connect(mirror_after_migrate, sender=self)
