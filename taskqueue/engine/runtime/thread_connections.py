"""Django's connections of the workers' threads, for code that must reach a connection from another thread."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_opened: dict[int, list[BaseDatabaseWrapper]] = {}


def track_connections() -> None:
    """Note from now on which connections the calling thread opens through Django. Called by a worker's thread."""
    _opened.setdefault(threading.get_ident(), [])
    connection_created.connect(_note, dispatch_uid="taskqueue.thread_connections")


def connections_of(thread: int) -> list[BaseDatabaseWrapper]:
    """The noted connections of a thread that are open."""
    return [each for each in list(_opened.get(thread, ())) if each.connection is not None]


def connections_of_other_threads() -> list[BaseDatabaseWrapper]:
    """The noted connections that are open, without those of the calling thread."""
    others = [thread for thread in list(_opened) if thread != threading.get_ident()]
    return [each for thread in others for each in connections_of(thread)]


def _note(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    opened = _opened.get(threading.get_ident())
    is_django_s = connection.alias in connections.settings and connections[connection.alias] is connection
    if opened is None or not is_django_s:
        return  # a thread that is no worker's, or a private connection
    opened[:] = [each for each in opened if each.connection is not None and each is not connection]
    opened.append(connection)
