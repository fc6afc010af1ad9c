"""Forks: a child that author code forks shares no connection with its worker, and never continues in the engine."""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import suppress
from typing import Any, Final

import psycopg
from django.db import connections

from taskqueue import context
from taskqueue.engine.runtime.thread_connections import connections_of_other_threads, track_connections

FORKED_EXIT_CODE: Final = 1
"""Of a child that has returned from author code."""

private_connections: weakref.WeakSet[psycopg.Connection[Any]] = weakref.WeakSet()
"""Connections of the engine's own threads."""

_abandoned: list[Any] = []
"""Connections that a child must not clean up: to end a shared connection would end the worker's."""

_is_registered = False


def detach_children() -> None:
    """From now on a child of this process starts without its connections and its task. Each thread calls it."""
    global _is_registered
    track_connections()
    if not _is_registered:
        _is_registered = True
        os.register_at_fork(after_in_child=detach)


def detach() -> None:
    """In a child: close the worker's connections without a message to the server, and leave its task.

    The descriptors are closed here: to the server a worker is alive as long as any process holds its connection.
    """
    context.current.set(None)
    context.current_step.set("")
    for connection in list(private_connections):
        abandon(connection)
    private_connections.clear()
    for django in connections_of_other_threads():
        if isinstance(django.connection, psycopg.Connection):
            abandon(django.connection)
    for django in connections.all(initialized_only=True):
        if isinstance(django.connection, psycopg.Connection):
            abandon(django.connection)
            django.connection = None
            django.in_atomic_block = django.needs_rollback = django.closed_in_transaction = False
            django.savepoint_ids, django.atomic_blocks, django.run_on_commit = [], [], []


def abandon(connection: psycopg.Connection[Any]) -> None:
    """Close this process's socket of a connection, and nothing more."""
    _abandoned.append(connection)
    with suppress(psycopg.Error, OSError):
        os.close(connection.pgconn.socket)


def exit_if_forked(pid: int) -> None:
    """Exit if author code forked this process: its parent, the worker with this pid, continues the task."""
    if os.getpid() != pid:
        sys.stderr.write(f"taskqueue: process {os.getpid()}, forked inside a task, returned from it and was ended.\n")
        sys.stderr.flush()
        os._exit(FORKED_EXIT_CODE)
