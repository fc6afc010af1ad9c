"""Checks and settings before a worker cluster starts."""

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
from taskqueue.engine import sql
from taskqueue.engine.async_worker.execute import ENGINE_CONNECTIONS
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.runtime import sessions
from taskqueue.engine.runtime.database_errors import error_message
from taskqueue.engine.runtime.sessions import KEEPALIVE_OPTIONS
from taskqueue.engine.worker.heartbeat_thread import drop_when_unreachable
from taskqueue.pool.notifier import NotifierBroker
from taskqueue.pool.shared_memory import STOP

RETRY_DELAY = 1.0
APPS = ("taskqueue", "django_q")

PREPARE_THRESHOLD: Final = 1_000_000_000
"""So high that psycopg prepares no statement of Django's. The engine prepares its own statements explicitly."""

SHARED_CONNECTIONS: Final = 4
"""Of the supervising processes and the notifier."""

POOLER_ERROR: Final = (
    "This is a pooler in transaction mode, and a worker needs the PostgreSQL server itself, for its locks and its "
    "notifications: put the server's address into DATABASES and name it in "
    'TASKQUEUE["WORKER_DATABASE"] (see docs/deploy.md).'
)


def set_pool_size(processes: int | None) -> int:
    """Set the number of worker processes, if one is given. Returns the number in effect."""
    if processes is not None:
        Conf.WORKERS = processes
    workers = Conf.WORKERS = int(Conf.WORKERS)
    # Messages that wait in this queue are locked, so that no other command can take them.
    Conf.QUEUE_LIMIT = Conf.conf.get("queue_limit") or workers
    return workers


def use_worker_database() -> None:
    """Connect this process and its children to the default database as TASKQUEUE["WORKER_DATABASE"] says.

    Steps use this connection too: it leads to the same database by another route.
    """
    if alias := settings().WORKER_DATABASE:
        db.connections.close_all()
        default = db.connections.settings[db.DEFAULT_DB_ALIAS]
        own = {**default, **db.connections.settings[alias], "TEST": default["TEST"]}
        default.clear()
        default.update(own)
        del db.connections[db.DEFAULT_DB_ALIAS]  # it has the former settings, and perhaps another backend


def apply_log_level() -> None:
    """Let django-q2 log at its `log_level`, which it ignores when the root logger has a handler."""
    if django_q_logger.level == logging.NOTSET:
        django_q_logger.setLevel(Conf.LOG_LEVEL)


def broker_error() -> str:
    """Return why no task would ever start on the project's django-q2 broker, or "".

    The broker is not instantiated: django-q2's default asks for a package that may not be installed.
    """
    name = Conf.BROKER_CLASS or ""
    try:
        broker = import_string(name)
    except ImportError:
        broker = None
    if isinstance(broker, type) and issubclass(broker, NotifierBroker):
        return ""
    return (
        f"Q_CLUSTER makes django-q2 use {name or 'a broker of its own'}, which does not know when a task is due. "
        f'Set Q_CLUSTER["broker_class"] to "{NotifierBroker.__module__}.{NotifierBroker.__qualname__}".'
    )


def persist_connections() -> None:
    """Let this process and its children keep their connections and share none, whatever the web settings say.

    One connection per message would cost workers two thirds of their speed. Forked children would share a psycopg pool
    and read each other's answers.

    Each end notices within about ten seconds that the other one is gone. Otherwise a worker would wait for a lost
    server for ever, and the server would keep the locks of a lost worker.
    """
    for alias in db.connections:
        database: dict[str, Any] = db.connections[alias].settings_dict
        database["CONN_MAX_AGE"] = None
        database["CONN_HEALTH_CHECKS"] = True
        if db.connections[alias].vendor != "postgresql":
            continue
        options = database.setdefault("OPTIONS", {})
        options.pop("pool", None)
        for name, value in {**KEEPALIVE_OPTIONS, "prepare_threshold": PREPARE_THRESHOLD}.items():
            options.setdefault(name, value)
    sessions.name_sessions("supervisor")
    connection_created.connect(_set_server_timeouts, dispatch_uid="taskqueue.workers")


def _set_server_timeouts(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    if connection.vendor == "postgresql":
        drop_when_unreachable(connection.connection)


def wait_for_database(write: Callable[[str], None]) -> str:
    """Wait until the database answers, and sync the pipelines. Returns why no worker can run on it, or ""."""
    last_line = ""
    while not STOP.is_set():
        try:
            if error_text := database_error():
                return error_text
            sync_pipelines()
        except (db.Error, psycopg.Error) as error:
            db.connections.close_all()
            line = error_message(error)
            if line != last_line:
                write(f"Waiting for the database: {line}")
            last_line = line
            STOP.wait(RETRY_DELAY)
        else:
            return ""
    return ""


def connections_warning(processes: int, threads: int, *, is_async: bool = False) -> str:
    """Return a warning if the server may have too few connections left for this command at its busiest, or ""."""
    # For each thread, for the heartbeats; for the engine's part of async tasks, and for plain code that they call.
    needed = processes * (threads + 1 + (ENGINE_CONNECTIONS + threads if is_async else 0)) + SHARED_CONNECTIONS
    try:
        ((maximum, left),) = sql.fetch(sql.CONNECTIONS_LEFT, {})
    except db.Error:
        return ""
    if needed <= left:
        return ""
    return (
        f"Warning: this worker may need {needed} connections (a process: one for each thread, and one"
        f"{', and as many for async tasks' if is_async else ''}), and PostgreSQL "
        f"has {left} of its {maximum} left. Lower --processes or --threads, or raise max_connections."
    )


def database_error() -> str:
    """Return why no worker can run on the database, or "".

    Raises:
        django.db.Error, psycopg.Error: the database is unreachable.
    """
    if sessions.is_transaction_pooled():
        return POOLER_ERROR
    executor = MigrationExecutor(db.connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] in APPS]
    if missing := sorted({migration.app_label for migration, _ in executor.migration_plan(targets)}):
        return f"The database lacks migrations of {', '.join(missing)}: run manage.py migrate."
    return ""
