"""The journal of a task: what it has recorded so far, read once, and the fenced writes that add to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, LiteralString

from django.db import Error

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.context import Pause
from taskqueue.engine import sql
from taskqueue.engine.events.send import route_now
from taskqueue.engine.execution.author_session import Session
from taskqueue.engine.runtime.database_errors import is_refusal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import DatabaseLost, FailedAttempt
from taskqueue.engine.tasks.children import close_overdue
from taskqueue.errors import StepFailed
from taskqueue.ids import uuid7
from taskqueue.states import StepKind, StepStatus

HOOK_FAILED: Final = "The step is committed and is not repeated; a function that it gave to on_commit has failed:"


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
    comes_at: float = 0.0
    """When that time comes, by this process's monotonic clock."""

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
    session: Session = field(default_factory=Session)
    """This thread's connection, made before author code runs."""
    lost: DatabaseLost | None = None
    is_paused: bool = False
    """Whether people had paused the pipeline at the last checkpoint."""

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
        rows = self.write(sql.CHECKPOINT, {**values, "kind": kind, "elapsed": elapsed, "logs": logs})
        if not rows:
            return None
        recorded: str
        recorded, self.is_paused = rows[0]
        self.entries[key] = Entry(StepStatus.SUCCEEDED, 0, input_hash, recorded, None)
        self.output_bytes += len(recorded.encode())
        return recorded

    def emit(self, key: str, event: str, data: str) -> bool:
        """Send an event and record that it was sent, as one. False when the lease is gone, and nothing was sent."""
        self.session.refuse_open_transaction(
            f"emit({event!r}) was called inside a database transaction of the pipeline's body, which would hold it "
            "back. Begin transactions inside steps."
        )
        values = {"id": uuid7(), "key": key, "step": key, "name": event, "data": data}
        rows = self.write(sql.EMIT, {**values, "input_hash": codec.fingerprint_of(data)})
        for (sent,) in rows:
            route_now(sent)
        return bool(rows)

    def record_failed_step(self, failed: FailedAttempt, *, status: StepStatus) -> bool:
        """Record a failed try. False when the lease is gone, or the step has succeeded after all."""
        self.session.mend()
        written = self.write(sql.RECORD_FAILED_STEP, failed_try(failed, step_status=status))
        if written and status == StepStatus.FAILED:
            self.entries[failed.key] = Entry(status, 0, "", None, step_error(failed))
        return bool(written)

    def record_failed_hook(self, failed: FailedAttempt) -> None:
        """Record that a function which a step gave to `on_commit` has failed."""
        self.session.mend()
        told = replace(failed, message=f"{HOOK_FAILED} {failed.message}")
        self.write(sql.RECORD_FAILED_HOOK, failed_try(told, step_status=StepStatus.SUCCEEDED))

    def lose(self, error: Error, *, step: str = "") -> DatabaseLost:
        """Note that the database was lost at a point where it is unknown what it has written."""
        self.lost = DatabaseLost(error, step=step)
        return self.lost

    def write(self, statement: LiteralString, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a fenced statement; a database that fails in it must not look like the author's error.

        Raises:
            DatabaseLost: it failed, and whether it has written is unknown.
            django.db.Error: it has refused what it was to write, as it would each time.
        """
        if self.session.has_died():
            self.session.django.close()
        try:
            return sql.fetch(statement, {**values, **self.lease.fence})
        except Error as error:
            if is_refusal(error) or self.session.is_own_doing(error):
                raise
            raise self.lose(error, step=values.get("key", "")) from error
        finally:
            self.session.used_at = time.monotonic()

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


def read_entries(lease: Lease) -> dict[str, Entry]:
    """What is recorded of a task, by key."""
    rows, now = sql.fetch(sql.LOAD_JOURNAL, {"task": lease.task}), time.monotonic()
    return {
        key: Entry(
            status,
            failures,
            input_hash,
            output,
            error,
            kind,
            is_due=due_in is not None and due_in <= 0,
            comes_at=now + (due_in or 0),
        )
        for key, kind, status, failures, input_hash, output, error, due_in in rows
    }


def is_overdue(entry: Entry) -> bool:
    """Whether it waits and its time has come; a step that was given a time by its rate is called then."""
    return entry.status == StepStatus.WAITING and entry.kind != StepKind.STEP and entry.is_due


def failed_try(failed: FailedAttempt, *, step_status: StepStatus) -> dict[str, Any]:
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


def step_error(failed: FailedAttempt) -> str:
    """The short form of an error that a step keeps."""
    return codec.write({"type": failed.error_type, "message": failed.message})


def memoized_failure(key: str, entry: Entry) -> StepFailed:
    """The StepFailed that the body saw when this step failed."""
    error = codec.read(entry.error or "{}")
    return StepFailed(key, error.get("type", ""), error.get("message", ""))
