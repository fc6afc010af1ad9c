"""Sessions: what this process's connections to the database are told, and whether a pooler takes them apart."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from taskqueue.engine.runtime.outages import outage
from taskqueue.engine.runtime.silent_server import notice_silence

LOST_AFTER_TEN_SECONDS: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""What libpq is told of a connection, unless the project's settings say otherwise. Without meaning for a socket."""
NAME: Final = "fallback_application_name"
"""libpq's: it names a connection that neither the project's settings nor the environment have named."""
WEB: Final = "taskqueue web"
LONGEST_HOST: Final = 30
"""PostgreSQL cuts a name off after 63 bytes, and the process id comes last."""
PROBES: Final = 5


def use_web_sessions() -> None:
    """Set up what a web process's connections are told, from the next one on.

    Their name is the same in all processes: a pooler would have to tell each change of it to the server.
    """
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        options = connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"]
        for name, value in {**LOST_AFTER_TEN_SECONDS, "connect_timeout": 3, NAME: WEB}.items():
            options.setdefault(name, value)
        connection_created.connect(notice_silence, dispatch_uid="taskqueue.web")
        connection_created.connect(outage.end, dispatch_uid="taskqueue.web.outage")


def close_all(**_signal: Any) -> None:
    """Close this thread's connections, which under ASGI is the thread of one request, and would leave them behind."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


def name_sessions(role: str) -> None:
    """Let PostgreSQL show what this process's connections are for, from the next one on."""
    connections.settings[DEFAULT_DB_ALIAS]["OPTIONS"][NAME] = named(role)


def named(role: str) -> str:
    """The name of a connection of this process."""
    return f"taskqueue {role} {socket.gethostname()[:LONGEST_HOST]}:{os.getpid()}"


def private_wrapper(**options: object) -> BaseDatabaseWrapper:
    """A connection to be opened that is Django's in all but these options, and shared with nothing."""
    wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
    given = {name: value for name, value in wrapper.settings_dict["OPTIONS"].items() if name != "pool"}
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": {**given, **options}}
    return wrapper


def is_taken_apart() -> bool:
    """Whether a pooler gives the server processes behind two of our connections to both of them by turns.

    That is transaction mode: locks of a session, LISTEN and settings then belong to nobody. With the server itself, and
    with a pooler in session mode, each connection keeps a process of its own, so the answer is never wrongly yes. It is
    wrongly no only if other clients happen to leave us the same ones at each of these probes.

    Raises:
        psycopg.Error: the database is away.
    """
    with closing(bare_connection()) as one, closing(bare_connection()) as other:
        return any(is_shared(one, other) for _ in range(PROBES))


def bare_connection() -> psycopg.Connection[Any]:
    """A connection in autocommit that was told nothing: a pooler's would pass it on to its next user."""
    wrapper = private_wrapper()
    connection: psycopg.Connection[Any] = wrapper.get_new_connection(wrapper.get_connection_params())
    connection.autocommit = True
    return connection


def is_server_itself(connection: psycopg.Connection[Any]) -> bool:
    """Whether no pooler stands in between: it would announce a process id of its own making."""
    return pid_of(connection) == connection.info.backend_pid


def is_shared(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> bool:
    """Whether one connection's server process serves the other one while the first is idle, or is changed meanwhile."""
    before = pid_of(one)
    try:
        with other.transaction():
            return pid_of(other) == before or pid_of(one) != before
    except psycopg.errors.ProtocolViolation:  # statement mode knows no transactions
        return True


def pid_of(connection: psycopg.Connection[Any]) -> int:
    """The server process that answers a connection now."""
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    return int(pid)
