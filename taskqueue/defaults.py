"""What a project's settings need for taskqueue: the apps to list, and defaults for what the project leaves out.

    from taskqueue.defaults import with_apps

    INSTALLED_APPS = with_apps(INSTALLED_APPS)

Settings files import this module, so importing it reads no settings and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings

APPS: Final = (
    "django.contrib.postgres",  # from Django 6.0 on, PostgreSQL's own fields and indexes ask for it
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "taskqueue",  # before django_q, which reads Q_CLUSTER as soon as Django comes to it
    "django_q",
)
"""The entries of INSTALLED_APPS that taskqueue needs, itself included, besides Django's auth and contenttypes."""

Q_CLUSTER: Final[dict[str, Any]] = {
    "name": "taskqueue",
    "orm": "default",
    "broker_class": "taskqueue.pool.notifier.Doorbell",
    # Retries, attempts, timeouts and schedules are taskqueue's: those of django-q2 must never act first.
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
"""The options of django-q2 that workers need."""

BROKERS: Final = ("redis", "django_redis", "iron_mq", "sqs", "mongo")
"""The options that make django-q2 keep its messages outside the database."""


def with_apps(installed: Iterable[str]) -> list[str]:
    """A project's INSTALLED_APPS, completed by those of APPS that it does not list."""
    apps = list(installed)
    missing = [app for app in APPS if app not in apps]
    place = apps.index("django_q") if "django_q" in apps else len(apps)
    return [*apps[:place], *missing, *apps[place:]]


def complete_settings() -> None:
    """Fill in what the project's settings leave out; each value that the project gives stays."""
    given: dict[str, Any] = getattr(settings, "Q_CLUSTER", {})
    settings.Q_CLUSTER = {**defaults_beside(given), **given}
    if default := settings.DATABASES.get("default"):
        # Without effect unless the project sets CONN_MAX_AGE. Then a restart of the database costs no request.
        default.setdefault("CONN_HEALTH_CHECKS", True)


def defaults_beside(given: dict[str, Any]) -> dict[str, Any]:
    """The defaults for a project's Q_CLUSTER. A project that chose a broker keeps it, and the checks warn of it."""
    if not any(name in given for name in BROKERS):
        return Q_CLUSTER
    return {name: value for name, value in Q_CLUSTER.items() if name not in {"broker_class", "orm"}}
