"""What taskqueue needs in a project's settings: the apps, and defaults for other settings.

    from taskqueue.defaults import with_apps

    INSTALLED_APPS = with_apps(INSTALLED_APPS)

Settings files import this module, so the import itself reads no settings and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings

APPS: Final = (
    "django.contrib.postgres",  # Django 6.0 requires it for PostgreSQL's fields and indexes
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "taskqueue",  # before django_q, which reads Q_CLUSTER at import
    "django_q",
)
"""The apps that taskqueue needs, itself included, in addition to Django's auth and contenttypes."""

Q_CLUSTER: Final[dict[str, Any]] = {
    "name": "taskqueue",
    "orm": "default",
    "broker_class": "taskqueue.pool.notifier.NotifierBroker",
    # taskqueue does retries, timeouts and schedules itself: django-q2's must never fire first.
    "timeout": 86400,
    "retry": 90000,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "recycle": 5000,
    "save_limit": 1000,
    "guard_cycle": 0.5,
    "poll": 1,
    "log_level": "WARNING",
}
"""The options of django-q2 that taskqueue needs."""

OTHER_BROKERS: Final = ("redis", "django_redis", "iron_mq", "sqs", "mongo")
"""The options of django-q2 for brokers outside the database."""


def with_apps(installed: Iterable[str]) -> list[str]:
    """The project's apps, with those of APPS that are missing."""
    apps = list(installed)
    missing = [app for app in APPS if app not in apps]
    position = apps.index("django_q") if "django_q" in apps else len(apps)
    return [*apps[:position], *missing, *apps[position:]]


def complete_settings() -> None:
    """Add defaults for settings that the project does not set."""
    given: dict[str, Any] = getattr(settings, "Q_CLUSTER", {})
    # Another broker is kept, and a system check reports it.
    kept = {"broker_class", "orm"} if any(name in given for name in OTHER_BROKERS) else set()
    settings.Q_CLUSTER = {**{name: value for name, value in Q_CLUSTER.items() if name not in kept}, **given}
    if default := settings.DATABASES.get("default"):
        # Only matters with CONN_MAX_AGE: then no request fails after a restart of the database.
        default.setdefault("CONN_HEALTH_CHECKS", True)
