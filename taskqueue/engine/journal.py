"""The journal of a task: what it has recorded so far, read once, and the fenced writes that add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, LiteralString

from django.db import Error, connection
from psycopg.pq import TransactionStatus

from taskqueue import codec
from taskqueue.engine import statements
from taskqueue.engine.claims import Lease
from taskqueue.engine.outcomes import DatabaseLost, FailedTry
from taskqueue.errors import StepFailed
from taskqueue.states import StepStatus


@dataclass(frozen=True)
class Entry:
    """What is recorded of one step."""

    status: str
    failures: int
    input_hash: str
    output: str | None
    error: str | None


@dataclass
class Journal:
    """A task's recorded steps by key, and the lease under which more may be written."""

    lease: Lease
    entries: dict[str, Entry] = field(default_factory=dict)
    output_bytes: int = 0

    @classmethod
    def load(cls, lease: Lease) -> Journal:
        """Read everything that is recorded for a task, in one query; a first lease cannot have anything."""
        journal = cls(lease)
        if lease.number > 1:
            for key, *recorded in statements.fetch(statements.LOAD_JOURNAL, {"task": lease.task}):
                journal.entries[key] = Entry(*recorded)
                journal.output_bytes += len((journal.entries[key].output or "").encode())
        return journal

    def checkpoint(self, *, key: str, name: str, arguments: str, output: str, elapsed: timedelta) -> bool:
        """Record that a step succeeded. False when the lease is gone: nothing was written."""
        input_hash = codec.fingerprint_of(arguments)
        values = {"key": key, "name": name, "input": arguments, "input_hash": input_hash, "output": output}
        rows = self._write(statements.CHECKPOINT, {**values, "elapsed": elapsed})
        if rows:
            self.entries[key] = Entry(StepStatus.SUCCEEDED, 0, input_hash, output, None)
            self.output_bytes += len(output.encode())
        return bool(rows)

    def record_failed_step(self, failed: FailedTry) -> bool:
        """Record that a step failed for good. False when the lease is gone."""
        mend_connection()
        written = self._write(statements.RECORD_FAILED_STEP, failed_try(failed, step_status=StepStatus.FAILED))
        if written:
            error = step_error(failed)
            self.entries[failed.key] = Entry(StepStatus.FAILED, 0, "", None, error)
        return bool(written)

    def _write(self, statement: LiteralString, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a fenced statement; a database error in it must not look like the author's."""
        try:
            return statements.fetch(statement, {**values, **self.lease.fence})
        except Error as error:
            raise DatabaseLost(str(error)) from error


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
    }


def step_error(failed: FailedTry) -> str:
    """The short form of an error that a step keeps."""
    return codec.write({"type": failed.error_type, "message": failed.message})


def recalled_failure(key: str, entry: Entry) -> StepFailed:
    """The StepFailed that the body saw when this step failed."""
    error = codec.read(entry.error or "{}")
    return StepFailed(key, error.get("type", ""), error.get("message", ""))


def mend_connection() -> None:
    """Make the connection usable again after author code failed on it.

    A timeout may have struck in the middle of a query, and a step may have left a transaction open: Django notices
    neither, and our next statement would fail or never be committed.
    """
    if connection.in_atomic_block or connection.connection is None:
        return
    if connection.connection.info.transaction_status != TransactionStatus.IDLE:
        connection.close()
