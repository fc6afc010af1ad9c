"""The journal of a task: what it has recorded so far, read once, and the fenced writes that add to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, LiteralString

from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.context import Pause
from taskqueue.engine import statements
from taskqueue.engine.claims import Lease
from taskqueue.engine.events import route_now
from taskqueue.engine.family import close_overdue
from taskqueue.engine.outcomes import DatabaseLost, FailedTry
from taskqueue.errors import StepFailed, WrongPlace
from taskqueue.ids import uuid7
from taskqueue.states import StepKind, StepStatus

OPEN: Final = (TransactionStatus.ACTIVE, TransactionStatus.INTRANS, TransactionStatus.INERROR)

TRUSTED_IDLE: Final = 5.0
"""Seconds without a statement after which a server or a proxy may have closed the connection under a long step."""


@dataclass(frozen=True)
class Entry:
    """What is recorded of one step."""

    status: str
    failures: int
    input_hash: str
    output: str | None
    error: str | None
    kind: str = StepKind.STEP
    is_due: bool = True
    """Of a waiting one: whether its time had come when it was read."""

    @property
    def is_held_back(self) -> bool:
        """Whether it is a step that its rate gave a time."""
        return self.status == StepStatus.WAITING and self.kind == StepKind.STEP

    @property
    def is_to_be_called(self) -> bool:
        """Whether it is a plain step that shall be called again: a try has failed, or its rate gave it a time."""
        return self.kind == StepKind.STEP and self.status in (StepStatus.RETRYING, StepStatus.WAITING)


@dataclass
class Journal:
    """A task's recorded steps by key, and the lease under which more may be written."""

    lease: Lease
    entries: dict[str, Entry] = field(default_factory=dict)
    output_bytes: int = 0
    django: BaseDatabaseWrapper = field(default_factory=lambda: connections[DEFAULT_DB_ALIAS])
    """This thread's connection, looked up once: the proxy that Django offers costs as much as a short step."""
    in_transaction: bool = field(init=False)
    """Whether the execution began inside a transaction, as in tests."""
    lost: DatabaseLost | None = None
    is_paused: bool = False
    """Whether people had paused the pipeline at the last checkpoint."""
    used_at: float = field(default_factory=time.monotonic)
    _watched: object = None

    def __post_init__(self) -> None:
        """See how things stand before author code runs."""
        self.in_transaction = self.django.in_atomic_block

    @classmethod
    def load(cls, lease: Lease) -> Journal:
        """Read everything that is recorded for a task, in one query; a first lease cannot have anything."""
        journal = cls(lease)
        if lease.number > 1:
            journal.entries = read_entries(lease)
            if any(is_overdue(entry) for entry in journal.entries.values()):
                close_overdue(lease)
                journal.entries = read_entries(lease)
            journal.output_bytes = sum(len((entry.output or "").encode()) for entry in journal.entries.values())
        return journal

    def checkpoint(
        self,
        *,
        key: str,
        name: str,
        arguments: str,
        output: str,
        elapsed: timedelta,
        kind: StepKind = StepKind.STEP,
        logs: str | None = None,
    ) -> str | None:
        """Record that a step succeeded.

        Returns:
            The output as PostgreSQL will give it back; None when the lease is gone, and nothing was written.
        """
        input_hash = codec.fingerprint_of(arguments)
        values = {"key": key, "name": name, "input": arguments, "input_hash": input_hash, "output": output}
        rows = self.write(statements.CHECKPOINT, {**values, "kind": kind, "elapsed": elapsed, "logs": logs})
        if not rows:
            return None
        recorded: str
        recorded, self.is_paused = rows[0]
        self.entries[key] = Entry(StepStatus.SUCCEEDED, 0, input_hash, recorded, None)
        self.output_bytes += len(recorded.encode())
        return recorded

    def emit(self, key: str, event: str, data: str) -> bool:
        """Send an event and record that it was sent, as one. False when the lease is gone, and nothing was sent."""
        self.refuse_open_transaction(
            f"emit({event!r}) was called inside a database transaction of the pipeline's body, which would hold it "
            "back. Begin transactions inside steps."
        )
        values = {"id": uuid7(), "key": key, "step": key, "name": event, "data": data}
        rows = self.write(statements.EMIT, {**values, "input_hash": codec.fingerprint_of(data)})
        for (sent,) in rows:
            route_now(sent)
        return bool(rows)

    def record_failed_step(self, failed: FailedTry, *, status: StepStatus) -> bool:
        """Record a failed try. False when the lease is gone, or the step has succeeded after all."""
        self.mend_connection()
        written = self.write(statements.RECORD_FAILED_STEP, failed_try(failed, step_status=status))
        if written and status == StepStatus.FAILED:
            self.entries[failed.key] = Entry(status, 0, "", None, step_error(failed))
        return bool(written)

    def lose(self, error: Error) -> DatabaseLost:
        """Note that the database was lost at a point where it is unknown what it has written."""
        self.lost = DatabaseLost(str(error))
        return self.lost

    def write(self, statement: LiteralString, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a fenced statement; a database error in it must not look like the author's."""
        if self._has_dead_connection():
            self.django.close()
        try:
            return statements.fetch(statement, {**values, **self.lease.fence})
        except Error as error:
            raise self.lose(error) from error
        finally:
            self.used_at = time.monotonic()

    def check(self) -> None:
        """Whether the database was lost on the way; a body that swallowed that with a bare `except:` learns it again.

        Raises:
            DatabaseLost: whether the last write was done is unknown, so nothing may follow it.
        """
        if self.lost is not None:
            raise self.lost

    def check_room(self, pauses: Sequence[Pause]) -> None:
        """See that the outputs do not pass their limit before one more event is added to them.

        What an event brings is known only when it has come, and it is small beside the limit.

        Raises:
            TooLarge: they do, by the events that came so far.
        """
        limit = settings().TASK_OUTPUT_MAX_BYTES
        for pause in pauses:
            if pause.awaited:
                what = f"The sum of this task's outputs before step {pause.key!r}"
                codec.within("", used=self.output_bytes, limit=limit, what=what, setting="TASK_OUTPUT_MAX_BYTES")

    def refuse_open_transaction(self, complaint: str) -> None:
        """See that author code holds no transaction open: a checkpoint in it would not be committed.

        Raises:
            WrongPlace: it does.
        """
        if self._has_open_transaction():
            raise WrongPlace(complaint)

    def mend_connection(self) -> None:
        """Make the connection usable again after author code.

        A timeout may have struck in the middle of a query, and a step may have left a transaction open: Django notices
        neither, and our next statement would fail or never be committed.
        """
        if self._has_open_transaction() or self._has_dead_connection():
            # Else Django would keep the connection until the end of a block that nobody ends.
            self.django.in_atomic_block = False
            self.django.close()

    def watch_connection(self) -> None:
        """Note which connection author code is about to use."""
        self._watched = self.django.connection

    def has_lost_connection(self) -> bool:
        """Whether that one was lost since; Django may have opened another in its place."""
        if self.in_transaction or self._watched is None:
            return False
        return self.django.connection is not self._watched or self._transaction_status() == TransactionStatus.UNKNOWN

    def _has_dead_connection(self) -> bool:
        """Whether the connection is known to be broken, or has long been idle and is found to be."""
        if self.in_transaction or self.django.in_atomic_block or self.django.connection is None:
            return False
        if time.monotonic() - self.used_at < TRUSTED_IDLE:
            return self._transaction_status() == TransactionStatus.UNKNOWN
        return not self.django.is_usable()

    def _has_open_transaction(self) -> bool:
        """Whether a transaction is open that was not when this execution began."""
        if self.in_transaction or self.django.connection is None:
            return False
        return self.django.in_atomic_block or not self.django.autocommit or self._transaction_status() in OPEN

    def _transaction_status(self) -> int:
        """What libpq knows of the connection, without asking the server."""
        status: int = self.django.connection.pgconn.transaction_status
        return status


def read_entries(lease: Lease) -> dict[str, Entry]:
    """What is recorded of a task, by key."""
    return {
        key: Entry(status, failures, input_hash, output, error, kind, is_due)
        for key, kind, status, failures, input_hash, output, error, is_due in statements.fetch(
            statements.LOAD_JOURNAL, {"task": lease.task}
        )
    }


def is_overdue(entry: Entry) -> bool:
    """Whether it waits and its time has come; a step that was given a time by its rate is called then."""
    return entry.status == StepStatus.WAITING and entry.kind != StepKind.STEP and entry.is_due


def failed_try(failed: FailedTry, *, step_status: StepStatus) -> dict[str, Any]:
    """The parameters that write a failed try."""
    return {
        "key": failed.key,
        "name": failed.name,
        "step_status": step_status,
        "input": failed.arguments,
        "input_hash": codec.fingerprint_of(failed.arguments or ""),
        "step_error": step_error(failed),
        "outcome": failed.outcome,
        "error_type": failed.error_type,
        "error_message": failed.message,
        "traceback": failed.traceback,
        "elapsed": failed.elapsed,
        "logs": failed.logs,
    }


def step_error(failed: FailedTry) -> str:
    """The short form of an error that a step keeps."""
    return codec.write({"type": failed.error_type, "message": failed.message})


def recalled_failure(key: str, entry: Entry) -> StepFailed:
    """The StepFailed that the body saw when this step failed."""
    error = codec.read(entry.error or "{}")
    return StepFailed(key, error.get("type", ""), error.get("message", ""))
