"""Forks: a child that author code forks shares nothing with its worker, and never comes back into the engine."""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import suppress
from typing import Any, Final

import psycopg
from django.db import connections

from taskqueue import context

STRAYED: Final = 1
"""Exit code of a child that came back out of author code."""

private: weakref.WeakSet[psycopg.Connection[Any]] = weakref.WeakSet()
"""Connections of the engine's own threads."""

_abandoned: list[Any] = []
"""What must not be cleaned up in a child: to end a shared connection would end the worker's."""

_is_registered = False


def guard() -> None:
    """From now on children of this process begin without its connections and its task."""
    global _is_registered
    if not _is_registered:
        _is_registered = True
        os.register_at_fork(after_in_child=begin_anew)


def begin_anew() -> None:
    """In a child: let go of the worker's connections without a word to the server, and be no part of its task.

    The descriptors are closed here: the server would take a worker for alive as long as somebody holds its connection.
    """
    context.current.set(None)
    context.current_step.set("")
    for connection in list(private):
        abandon(connection)
    private.clear()
    for django in connections.all(initialized_only=True):
        if isinstance(django.connection, psycopg.Connection):
            abandon(django.connection)
            django.connection = None
            django.in_atomic_block = django.needs_rollback = django.closed_in_transaction = False
            django.savepoint_ids, django.atomic_blocks, django.run_on_commit = [], [], []


def abandon(connection: psycopg.Connection[Any]) -> None:
    """Close this process's end of a connection, and nothing more."""
    _abandoned.append(connection)
    with suppress(psycopg.Error, OSError):
        os.close(connection.pgconn.socket)


def end_strays(pid: int) -> None:
    """End this process at once if it is a child that was forked in author code: its parent does what comes next."""
    if os.getpid() != pid:
        sys.stderr.write(
            f"taskqueue: process {os.getpid()}, forked inside a task, came back out of it and was ended.\n"
        )
        sys.stderr.flush()
        os._exit(STRAYED)
