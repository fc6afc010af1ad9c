"""The database connection that author code shares with the engine: watch what author code does to it, and repair it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeGuard

import psycopg
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from taskqueue.engine.runtime.database_errors import CONNECTION_ERRORS, sqlstate_of
from taskqueue.engine.runtime.thread_connections import connections_of
from taskqueue.errors import InvalidContext, TransactionBroken

OPEN: Final = (TransactionStatus.ACTIVE, TransactionStatus.INTRANS, TransactionStatus.INERROR)

CANCEL_TIMEOUT: Final = 2.0
"""Seconds that the server gets to take the cancellation of a query."""

TRUSTED_IDLE: Final = 5.0
"""Seconds without a statement after which a server or a proxy may have closed the connection during a long step."""

SESSION_STATEMENTS: Final = re.compile(
    r"^\s*(SET(?!\s+(LOCAL|TRANSACTION|CONSTRAINTS)\b)|RESET|DISCARD|LISTEN|LOAD|PREPARE|DECLARE)\b"
    r"|\b(set_config|pg_(try_)?advisory_lock(_shared)?)\s*\(|\bCREATE\s+(\w+\s+)?TEMP",
    re.IGNORECASE,
)
"""Statements whose effect outlasts their transaction: settings, locks, LISTEN, temporary tables."""

SET_STATEMENTS: Final = re.compile(r"^\s*SET\b|\bset_config\s*\(", re.IGNORECASE)
"""Also the ones whose effect ends with the transaction, which the checkpoint shares."""


class AuthorSession:
    """Django's connection while author code of one execution may use it.

    Attributes:
        in_transaction: whether the execution began inside a transaction, as in tests.
        used_at: when the engine last used it.
        hooks: what the last atomic step gave to `on_commit`.
    """

    def __init__(self) -> None:
        # Looked up once: the proxy that Django offers costs as much as a short step.
        self.django: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS]
        self._thread = threading.get_ident()
        self.in_transaction = self.django.in_atomic_block
        self.used_at = time.monotonic()
        self.hooks: list[Callable[[], None]] = []
        self._is_changed = False
        self._has_set = False
        self._has_ended = False
        self._error: BaseException | None = None
        self._watched: Any = None
        self._was_cut = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the statements that author code sends through Django; wrappers that it adds itself are removed."""
        before = list(self.django.execute_wrappers)
        self.django.execute_wrappers.append(self._watch_statement)
        try:
            yield
        finally:
            self.django.execute_wrappers[:] = before

    def begin_step(self) -> None:
        """Note the connection that a step is about to use, and drop what the body has set on it."""
        self.restore()
        self._watched, self._was_cut = self.django.connection, False
        self._has_set, self._has_ended, self._error = False, False, None

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """One transaction for the writes of an atomic step and its checkpoint."""
        with transaction.atomic():
            self._watched = self.django.connection
            try:
                yield
            finally:
                self._was_cut = self._watched is not None and self._watched.broken
            if not self.in_transaction:
                # Django would report the first hook that fails as a failed commit, and drop the hooks after it.
                registered = [entry[1] for entry in self.django.run_on_commit]
                self.hooks, self.django.run_on_commit = registered, []

    def take_hooks(self) -> list[Callable[[], None]]:
        hooks, self.hooks = self.hooks, []
        return hooks

    def check_transaction(self, key: str, depth: int) -> None:
        """Check that an atomic step's transaction can be committed together with its checkpoint.

        Args:
            key: the step's.
            depth: how many atomic blocks were open when it was called.

        Raises:
            TransactionBroken: it cannot.
            InvalidContext: the step has ended it already.
        """
        connection, failed = self.django.connection, self._error
        if self._has_ended:
            raise InvalidContext(
                f"Step {key!r} ended its own transaction by a COMMIT or ROLLBACK. A step.atomic is one transaction "
                "with its record: leave both to it, or make it a plain step."
            )
        if connection is None or (connection.closed and not connection.broken):
            raise TransactionBroken(f"Step {key!r} closed its database connection, and with it its transaction.")
        if len(self.django.savepoint_ids) != depth:
            raise TransactionBroken(f"Step {key!r} left a transaction.atomic() block open. Use it with `with`.")
        if connection.pgconn.transaction_status == TransactionStatus.INERROR:
            error = TransactionBroken(
                f"Step {key!r} caught a database error, but PostgreSQL keeps nothing of a transaction after an error, "
                "neither its writes nor its result. Wrap the statement that may fail in its own `with "
                "transaction.atomic():`." + (f" The error: {type(failed).__name__}: {failed}" if failed else "")
            )
            raise error from failed
        if self.django.needs_rollback:
            raise TransactionBroken(
                f"The transaction of step {key!r} was marked for rollback, by transaction.set_rollback(True) or an "
                "error inside atomic(savepoint=False), so neither its writes nor its result could be kept."
            ) from failed

    def has_open_transaction(self) -> bool:
        """Whether author code has left a transaction open: a checkpoint in it might not be committed."""
        return self._has_open_transaction() or any(map(is_open, self._others()))

    def restore(self) -> None:
        """Drop what author code has set on the connection: settings, locks, temporary tables."""
        if self._is_changed and not self.in_transaction and not self.django.in_atomic_block:
            self._is_changed = False
            self.django.close()

    def mend(self) -> None:
        """Make the connection usable again after author code.

        A timeout may have struck in the middle of a query, and a step may have left a transaction open. Django notices
        neither, and the engine's next statement would fail or never be committed.
        """
        if self._has_open_transaction() or self.has_died():
            # Else Django would keep the connection until the end of a block that never ends.
            self.django.in_atomic_block = False
            self.django.close()
        self.restore()
        for other in filter(is_open, self._others()):
            other.in_atomic_block = False
            other.close()

    def cancel_queries(self) -> None:
        """Cancel what the connections of the session's thread execute now. Called from any thread.

        After a timeout the server would run it on with its locks.
        A server that does not take the cancellation in time runs the query to its end. Before libpq 17 a cancellation
        has no time limit, and would stop all threads of this process: then nothing is cancelled.
        """
        if not psycopg.capabilities.has_cancel_safe():
            return
        for django in {self.django, *self._others(), *connections_of(self._thread)}:
            if django.vendor != "postgresql" or django.connection is None:
                continue
            if django.connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error, OSError):
                    django.connection.cancel_safe(timeout=CANCEL_TIMEOUT)

    def was_cut(self) -> bool:
        """Whether the connection that a step began with was lost since, and not closed by the step itself."""
        if self.in_transaction or self._watched is None:
            return False
        return self._was_cut or bool(self._watched.broken)

    def is_unanswered(self, error: BaseException, *, recorded: bool, atomic: bool) -> TypeGuard[Error]:
        """Whether the database was lost before it confirmed the step's commit, or in the middle of an atomic step.

        Then it is unknown whether the step's writes are there, and this is no failed attempt.

        Args:
            error: what the step raised.
            recorded: whether its checkpoint was written.
            atomic: whether the checkpoint is committed together with the author's writes.
        """
        if not isinstance(error, CONNECTION_ERRORS):
            return False
        return recorded or (atomic and self.was_cut())

    def has_died(self) -> bool:
        """Whether the connection is broken. A query tests one that was idle for long."""
        if self.in_transaction or self.django.in_atomic_block or self.django.connection is None:
            return False
        if time.monotonic() - self.used_at < TRUSTED_IDLE:
            return self._transaction_status() == TransactionStatus.UNKNOWN
        return not self.django.is_usable()

    def may_have_caused(self, error: Error) -> bool:
        """Whether an atomic step's own SET may have made the engine's statement fail."""
        return self.django.in_atomic_block and self._has_set and bool(sqlstate_of(error))

    def _watch_statement(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        if isinstance(sql, str) and SESSION_STATEMENTS.search(sql):
            self._is_changed = True
        if isinstance(sql, str) and SET_STATEMENTS.search(sql):
            self._has_set = True
        try:
            result = execute(sql, params, many, context)
        except Error as error:
            self._error = error
            raise
        if self.django.in_atomic_block and self._transaction_status() == TransactionStatus.IDLE:
            self._has_ended = True
        return result

    def _has_open_transaction(self) -> bool:
        if self.in_transaction or self.django.connection is None:
            return False
        return is_open(self.django)

    def _others(self) -> Iterator[BaseDatabaseWrapper]:
        """The thread's other connections; none from another thread, which cannot see them."""
        if len(connections.settings) == 1 or self.in_transaction or threading.get_ident() != self._thread:
            return
        yield from (each for each in connections.all(initialized_only=True) if each is not self.django)

    def _transaction_status(self) -> int:
        """The connection's status as libpq knows it, without a query."""
        status: int = self.django.connection.pgconn.transaction_status
        return status


def is_open(django: BaseDatabaseWrapper) -> bool:
    """Whether a transaction is open on a connection, as far as this is known without a query."""
    if django.connection is None:
        return False
    if django.in_atomic_block or (not django.autocommit and django.settings_dict["AUTOCOMMIT"]):
        return True
    return django.vendor == "postgresql" and django.connection.pgconn.transaction_status in OPEN
