"""A system check of the settings that workers depend on; each message has a hint with the remedy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name for it
from django_q.conf import Conf

from taskqueue import defaults

BROKER = "taskqueue.pool.notifier.NotifierBroker"
MAX_GUARD_CYCLE = 1.0
MIN_TIMEOUT = 3600
DEFAULT_RETRY = 60


def check_cluster_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Return messages about the parts of Q_CLUSTER and DATABASES that workers depend on."""
    conf: dict[str, Any] = getattr(settings, "Q_CLUSTER", {})
    database: dict[str, Any] = settings.DATABASES.get("default", {})
    found = [*_completion(conf), *_broker(conf), *_delivery(conf), *_pool(conf)]
    return [*found, *_connections(database), *_worker_database()]


def _completion(conf: dict[str, Any]) -> Iterator[CheckMessage]:
    if defaults.Q_CLUSTER.keys() & conf.keys() - Conf.conf.keys():
        yield Error(
            "django-q2 read Q_CLUSTER before taskqueue filled in its defaults.",
            hint=(
                'Put "taskqueue" before "django_q" in INSTALLED_APPS, and import nothing of django_q in the settings, '
                "or in an app's __init__.py or apps.py. Or set Q_CLUSTER = taskqueue.defaults.Q_CLUSTER."
            ),
            id="taskqueue.E012",
        )


def _broker(conf: dict[str, Any]) -> Iterator[CheckMessage]:
    if conf.get("broker_class") != BROKER:
        yield Warning(
            "django-q2 does not use taskqueue's broker, so no worker wakes up when a task is due.",
            hint=f'Set Q_CLUSTER["broker_class"] to "{BROKER}".',
            id="taskqueue.W001",
        )
    if conf.get("orm") != "default":
        yield Warning(
            "django-q2 keeps its messages outside of the default database, which has the tasks.",
            hint='Set Q_CLUSTER["orm"] to "default".',
            id="taskqueue.W002",
        )
    if conf.get("sync"):
        yield Warning(
            "django-q2 executes messages in the process that sends them.",
            hint='Remove Q_CLUSTER["sync"]; in tests use taskqueue.testing.work() instead.',
            id="taskqueue.W003",
        )


def _delivery(conf: dict[str, Any]) -> Iterator[CheckMessage]:
    timeout, retry = conf.get("timeout"), conf.get("retry", DEFAULT_RETRY)
    if not timeout or timeout < MIN_TIMEOUT:
        yield Warning(
            f"django-q2's own timeout for ordinary messages is {timeout or 'not set'}.",
            hint='Set Q_CLUSTER["timeout"] to a day (86400): taskqueue itself limits the time of each step.',
            id="taskqueue.W004",
        )
    if retry <= (timeout or 0):
        yield Warning(
            f"django-q2 delivers a message again after {retry} s, when it may still be running.",
            hint='Set Q_CLUSTER["retry"] above Q_CLUSTER["timeout"]: 90000 with a timeout of 86400.',
            id="taskqueue.W005",
        )
    if not conf.get("ack_failures"):
        yield Warning(
            "django-q2 delivers a failed ordinary message again for ever.",
            hint='Set Q_CLUSTER["ack_failures"] to True.',
            id="taskqueue.W006",
        )


def _pool(conf: dict[str, Any]) -> Iterator[CheckMessage]:
    if not 0 < conf.get("guard_cycle", 0.5) <= MAX_GUARD_CYCLE:
        yield Warning(
            f"A dead worker is replaced only after {conf['guard_cycle']} s.",
            hint='Set Q_CLUSTER["guard_cycle"] to 0.5.',
            id="taskqueue.W007",
        )
    if conf.get("daemonize_workers") is False:
        yield Warning(
            "Worker processes are not daemons, so a process that a step forks keeps a stopping worker alive.",
            hint='Remove Q_CLUSTER["daemonize_workers"]; a step may start programs by subprocess.',
            id="taskqueue.W008",
        )
    if "recycle" in conf and conf["recycle"] < conf.get("workers", 1) * 10:
        yield Warning(
            f"Worker processes are replaced after {conf['recycle']} messages, which is very often.",
            hint='Set Q_CLUSTER["recycle"] to some thousands.',
            id="taskqueue.W009",
        )
    if logging.getLevelNamesMapping().get(conf.get("log_level", "INFO"), 0) < logging.WARNING:
        yield Warning(
            "django-q2 logs four lines for every wake-up.",
            hint='Set Q_CLUSTER["log_level"] to "WARNING".',
            id="taskqueue.W011",
        )


def _connections(database: dict[str, Any]) -> Iterator[CheckMessage]:
    if database.get("OPTIONS", {}).get("pool"):
        yield Warning(
            "The default database uses psycopg's pool, which forked processes would share and corrupt.",
            hint=(
                'Remove "pool" from OPTIONS. `manage.py worker` ignores it; '
                "`manage.py qcluster` and web servers that preload the application do not."
            ),
            id="taskqueue.W012",
        )
    if database.get("CONN_MAX_AGE", 0) != 0 and not database.get("CONN_HEALTH_CHECKS"):
        yield Warning(
            "Requests fail on connections that the database has closed.",
            hint='Set CONN_HEALTH_CHECKS to True in DATABASES["default"].',
            id="taskqueue.W014",
        )


def _worker_database() -> Iterator[CheckMessage]:
    alias = getattr(settings, "TASKQUEUE", {}).get("WORKER_DATABASE", "")
    if alias and alias not in settings.DATABASES:
        yield Error(
            f'TASKQUEUE["WORKER_DATABASE"] is {alias!r}, and DATABASES has no such alias.',
            hint=f"Add the address of the PostgreSQL server itself to DATABASES as {alias!r}, or remove the setting.",
            id="taskqueue.E020",
        )
