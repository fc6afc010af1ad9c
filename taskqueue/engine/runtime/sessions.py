"""Database sessions: the options and names of this process's connections, and which kind of pooler is in between."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from taskqueue.engine.runtime.outages import outage_log
from taskqueue.engine.runtime.silent_server import detect_silence

KEEPALIVE_OPTIONS: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""libpq's options by which a lost server is noticed in ten seconds. The project's settings win; sockets ignore them."""
APPLICATION_NAME: Final = "fallback_application_name"
"""libpq's option: the name of a connection that neither the project's settings nor the environment name."""
WEB: Final = "taskqueue web"
HOST_MAX_LENGTH: Final = 30
"""PostgreSQL cuts a name off after 63 bytes, and the process id comes last."""
PROBES: Final = 5


def use_web_sessions() -> None:
    """Set the options of a web process's connections, from the next one on.

    All processes use one name: a pooler has to send each change of it to the server.
    """
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        options = connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"]
        for name, value in {**KEEPALIVE_OPTIONS, "connect_timeout": 3, APPLICATION_NAME: WEB}.items():
            options.setdefault(name, value)
        connection_created.connect(detect_silence, dispatch_uid="taskqueue.web")
        connection_created.connect(outage_log.end, dispatch_uid="taskqueue.web.outage")


def close_all(**_signal: Any) -> None:
    """Close this thread's connections. Under ASGI the thread serves one request, and would leave them open."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


def name_sessions(role: str) -> None:
    """Name this process's connections in PostgreSQL, from the next one on."""
    connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"][APPLICATION_NAME] = session_name(role)


def session_name(role: str) -> str:
    return f"taskqueue {role} {socket.gethostname()[:HOST_MAX_LENGTH]}:{os.getpid()}"


def private_wrapper(**options: object) -> BaseDatabaseWrapper:
    """A connection with Django's settings and these options, not yet open, that no other code uses."""
    wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
    given = {name: value for name, value in wrapper.settings_dict["OPTIONS"].items() if name != "pool"}
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": {**given, **options}}
    return wrapper


def is_transaction_pooled() -> bool:
    """Whether a pooler in transaction mode is in between: two connections get each other's server processes.

    Session locks, LISTEN and settings do not work then. Without a pooler, and with one in session mode, each connection
    keeps its server process, so a yes is always right. A no is wrong only if other clients happen to leave the same
    server processes to us at each of these probes.

    Raises:
        psycopg.Error: the database is away.
    """
    with closing(bare_connection()) as one, closing(bare_connection()) as other:
        return any(share_server_process(one, other) for _ in range(PROBES))


def bare_connection() -> psycopg.Connection[Any]:
    """A connection in autocommit without any SET: a pooler would pass the setting on to its next user."""
    wrapper = private_wrapper()
    connection: psycopg.Connection[Any] = wrapper.get_new_connection(wrapper.get_connection_params())
    connection.autocommit = True
    return connection


def is_direct_connection(connection: psycopg.Connection[Any]) -> bool:
    """Whether no pooler is in between: it would announce a process id that is not the server's."""
    return pid_of(connection) == connection.info.backend_pid


def share_server_process(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> bool:
    """Whether one connection's server process serves the other one while the first is idle, or has changed since."""
    before = pid_of(one)
    try:
        with other.transaction():
            return pid_of(other) == before or pid_of(one) != before
    except psycopg.errors.ProtocolViolation:  # statement mode knows no transactions
        return True


def pid_of(connection: psycopg.Connection[Any]) -> int:
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    return int(pid)
