"""django-q2's own admin lists: they show wake-up messages, which look like tasks, and are nearly always empty."""

from __future__ import annotations

from django.apps import apps
from django.contrib.admin.sites import site

from taskqueue.conf import settings


def hide_queue_lists() -> None:
    """Unregister the lists from the default admin site, unless DJANGO_Q_ADMIN asks for them.

    This imports their module first. The admin imports each app's module once, so it does not register them again.
    """
    if settings().DJANGO_Q_ADMIN or not (apps.is_installed("django_q") and apps.is_installed("django.contrib.admin")):
        return
    from django_q import admin as lists

    for options in (lists.TaskAdmin, lists.FailAdmin, lists.ScheduleAdmin, lists.QueueAdmin):
        site.unregister([model for model, registered in site._registry.items() if type(registered) is options])
