"""django-q2's own lists in the admin: messages that wake workers, which look like tasks and are always empty."""

from __future__ import annotations

from django.apps import apps
from django.contrib.admin.sites import site

from taskqueue.conf import settings


def hide_queue_lists() -> None:
    """Take them out of the default admin site, unless they are asked for.

    Their module is imported first, so that the admin, which imports each app's once, does not add them afterwards.
    """
    if settings().DJANGO_Q_ADMIN or not (apps.is_installed("django_q") and apps.is_installed("django.contrib.admin")):
        return
    from django_q import admin as lists

    for options in (lists.TaskAdmin, lists.FailAdmin, lists.ScheduleAdmin, lists.QueueAdmin):
        site.unregister([model for model, registered in site._registry.items() if type(registered) is options])
