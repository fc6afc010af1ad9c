"""What has to be right before a worker cluster starts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import psycopg
from django import db
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string
from django_q.conf import Conf
from django_q.conf import logger as django_q_logger

from taskqueue.conf import settings
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.runtime import sessions
from taskqueue.engine.runtime.database_errors import message_of
from taskqueue.engine.runtime.sessions import LOST_AFTER_TEN_SECONDS
from taskqueue.engine.worker.heartbeat import have_it_dropped
from taskqueue.pool.notifier import Doorbell
from taskqueue.pool.shared_memory import STOP

ASK_EVERY = 1.0
APPS = ("taskqueue", "django_q")

PREPARE_OURS_ALONE: Final = 1_000_000_000
"""Lets the engine prepare its statements. psycopg prepares none of Django's before it has run so often."""

NEEDS_THE_SERVER: Final = (
    "This is a pooler in transaction mode, and a worker needs the PostgreSQL server itself, for its locks and its "
    "wake-ups: put the server's address into DATABASES and name it in "
    'TASKQUEUE["WORKER_DATABASE"] (see docs/deploy.md).'
)


def size_pool(processes: int | None) -> int:
    """Set the number of worker processes, if one is given. The number that now holds."""
    if processes is not None:
        Conf.WORKERS = processes
    workers = Conf.WORKERS = int(Conf.WORKERS)
    # A wake-up that waits behind others in a longer queue is of no use to anyone.
    Conf.QUEUE_LIMIT = Conf.conf.get("queue_limit") or workers
    return workers


def use_worker_database() -> None:
    """Let this process and its children reach the default database where TASKQUEUE["WORKER_DATABASE"] says.

    What steps do with the default database goes there too: for a worker it is the same database by another way.
    """
    if alias := settings().WORKER_DATABASE:
        db.connections.close_all()
        default = db.connections.settings[db.DEFAULT_DB_ALIAS]
        own = {**default, **db.connections.settings[alias], "TEST": default["TEST"]}
        default.clear()
        default.update(own)
        del db.connections[db.DEFAULT_DB_ALIAS]  # made for the former settings, it may be another backend


def quieten() -> None:
    """Let django-q2 log at its `log_level`, which it forgets wherever the root logger has a handler."""
    if django_q_logger.level == logging.NOTSET:
        django_q_logger.setLevel(Conf.LOG_LEVEL)


def wrong_broker() -> str:
    """The sentence that refuses a broker on which no task would ever start; "" if all is well.

    The broker is not made: that of a project without the setting asks for a package that may not be installed.
    """
    given = Conf.BROKER_CLASS or ""
    try:
        broker = import_string(given)
    except ImportError:
        broker = None
    if isinstance(broker, type) and issubclass(broker, Doorbell):
        return ""
    return (
        f"Q_CLUSTER makes django-q2 use {given or 'a broker of its own'}, which cannot tell when a task is due. "
        f'Set Q_CLUSTER["broker_class"] to "{Doorbell.__module__}.{Doorbell.__qualname__}".'
    )


def persist_connections() -> None:
    """Let this process and its children keep their connections, and share none, whatever the web settings say.

    A connection for each message would cost workers two thirds of their speed, and a psycopg pool is shared with
    forked children, which then read each other's answers.

    Either end notices within ten seconds or so that the other one is gone: a worker whose server is gone would wait
    for its answer for ever, and a server whose worker is gone would keep its locks.
    """
    for alias in db.connections:
        database: dict[str, Any] = db.connections[alias].settings_dict
        database["CONN_MAX_AGE"] = None
        database["CONN_HEALTH_CHECKS"] = True
        if db.connections[alias].vendor != "postgresql":
            continue
        options = database.setdefault("OPTIONS", {})
        options.pop("pool", None)
        for name, value in {**LOST_AFTER_TEN_SECONDS, "prepare_threshold": PREPARE_OURS_ALONE}.items():
            options.setdefault(name, value)
    sessions.name_sessions("supervisor")
    connection_created.connect(look_after, dispatch_uid="taskqueue.workers")


def look_after(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Tell the server of a new connection when to give it up."""
    if connection.vendor == "postgresql":
        have_it_dropped(connection.connection)


def unmigrated_apps() -> list[str]:
    """The apps of which a worker needs migrations that the database lacks.

    Raises:
        django.db.Error: the database is away.
    """
    executor = MigrationExecutor(db.connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] in APPS]
    return sorted({migration.app_label for migration, _ in executor.migration_plan(targets)})


def await_database(say: Callable[[str], None]) -> str:
    """Wait until the database answers, and mirror the pipelines into it. Why no worker can run on it; "" if one can."""
    said = ""
    while not STOP.is_set():
        try:
            if refusal := unfit_database():
                return refusal
            sync_pipelines()
        except (db.Error, psycopg.Error) as error:
            db.connections.close_all()
            line = message_of(error)
            if line != said:
                say(f"Waiting for the database: {line}")
            said = line
            STOP.wait(ASK_EVERY)
        else:
            return ""
    return ""


def unfit_database() -> str:
    """The sentence that refuses a database on which no worker can run; "" if all is well.

    Raises:
        django.db.Error, psycopg.Error: the database is away.
    """
    if sessions.is_taken_apart():
        return NEEDS_THE_SERVER
    if missing := unmigrated_apps():
        return f"The database lacks migrations of {', '.join(missing)}: run manage.py migrate."
    return ""
