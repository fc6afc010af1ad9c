"""The journal of a task: its recorded steps, read once, and the fenced writes that add to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, LiteralString

from django.db import Error

from taskqueue.conf import settings
from taskqueue.context import Suspension
from taskqueue.engine import sql
from taskqueue.engine.events.send import route_now
from taskqueue.engine.runtime.author_session import AuthorSession
from taskqueue.engine.runtime.database_errors import is_refusal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import DatabaseLost, FailedAttempt, Outcome, Release, Succeeded
from taskqueue.engine.tasks.children import time_out_suspensions
from taskqueue.engine.tracing import current_traceparent
from taskqueue.errors import InvalidContext, StepFailed
from taskqueue.ids import uuid7
from taskqueue.json_values import codec
from taskqueue.states import StepKind, StepStatus

HOOK_FAILED: Final = "The step is committed and is not repeated; a function that it gave to on_commit has failed:"


@dataclass(frozen=True)
class Entry:
    kind: str
    status: str
    failures: int
    input_hash: str
    output: str | None = None
    error: str | None = None
    is_due: bool = True
    """Whether the time of a waiting step had come when it was read."""
    due_at: float = 0.0
    """When that time comes, by this process's monotonic clock."""

    @property
    def waits_for_rate(self) -> bool:
        """Whether it is a plain step with a reserved time of its rate limit."""
        return self.status == StepStatus.WAITING and self.kind == StepKind.STEP

    @property
    def will_be_called(self) -> bool:
        """Whether it is a plain step that waits for its next attempt, or for a time of its rate limit."""
        return self.kind == StepKind.STEP and self.status in (StepStatus.RETRYING, StepStatus.WAITING)

    @property
    def is_unfinished(self) -> bool:
        return self.will_be_called or self.status == StepStatus.WAITING


@dataclass
class Journal:
    """A task's recorded steps by key, and the lease under which more may be written."""

    lease: Lease
    entries: dict[str, Entry] = field(default_factory=dict)
    output_bytes: int = 0
    sessions: dict[int, AuthorSession] = field(default_factory=dict)
    """By the ident of the thread whose connection it is: a task on an event loop uses several threads."""
    has_left_transaction: bool = False
    """Whether author code that has left its thread has left a transaction open there."""
    lost: DatabaseLost | None = None
    is_paused: bool = False
    """Whether the pipeline was paused at the last checkpoint."""
    held: Mapping[str, Any] | None = None
    """The checkpoint of the body's last step, which is written with the end of the task."""

    @property
    def session(self) -> AuthorSession:
        """The calling thread's connection, for the engine's statements and for author code."""
        thread = threading.get_ident()
        session = self.sessions.get(thread)
        if session is None:
            session = self.sessions[thread] = AuthorSession()
        return session

    def refuse_open_transaction(self, complaint: str) -> None:
        """Refuse to continue after author code has left a transaction open.

        Raises:
            InvalidContext: with this complaint.
        """
        has_left_transaction, self.has_left_transaction = self.has_left_transaction, False
        if has_left_transaction or self.session.has_open_transaction():
            raise InvalidContext(complaint)

    @classmethod
    def load(cls, lease: Lease) -> Journal:
        """Read all recorded steps of a task with one query. Under a task's first lease there are none."""
        journal = cls(lease)
        if lease.number > 1:
            journal.entries = read_entries(lease)
            if any(is_overdue(entry) for entry in journal.entries.values()):
                time_out_suspensions(lease)
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
        logs: str | None = None,
        hold: bool = False,
    ) -> str | None:
        """Record that a step succeeded.

        Args:
            hold: write it with the end of the task, which is the next thing to be written.

        Returns:
            The output as PostgreSQL will return it; None when the lease is gone, and nothing was written.
        """
        input_hash, more = codec.fingerprint_of(arguments), {"kind": StepKind.STEP, "elapsed": elapsed, "logs": logs}
        values = {"key": key, "name": name, "input": arguments, "input_hash": input_hash, "output": output, **more}
        if hold:
            self.held = values
        recorded = output if hold else self._write_checkpoint(values)
        if recorded is None:
            return None
        self.entries[key] = Entry(StepKind.STEP, StepStatus.SUCCEEDED, 0, input_hash, recorded)
        self.output_bytes += len(recorded.encode())
        return recorded

    def write_held(self) -> bool:
        """Write the checkpoint that is held, if there is one. False when the lease is gone."""
        values, self.held = self.held, None
        return values is None or self._write_checkpoint(values) is not None

    def with_held(self, outcome: Outcome) -> Outcome:
        """Let the end of a task that succeeded write the checkpoint that is held; before another outcome write it."""
        if isinstance(outcome, Succeeded):
            return replace(outcome, last_step=self.held)
        return outcome if self.write_held() else Release()

    def _write_checkpoint(self, values: Mapping[str, Any]) -> str | None:
        rows = self.write(sql.CHECKPOINT, values)
        if not rows:
            return None
        recorded: str
        recorded, self.is_paused = rows[0]
        return recorded

    def emit(self, key: str, event: str, data: str) -> bool:
        """Send an event and record that, in one statement. False when the lease is gone, and nothing was sent."""
        self.refuse_open_transaction(
            f"emit({event!r}) was called inside a database transaction of the pipeline's body, which would delay "
            "it. Begin transactions inside steps."
        )
        values = {"id": uuid7(), "key": key, "step": key, "name": event, "data": data}
        values["traceparent"] = current_traceparent()
        rows = self.write(sql.EMIT, {**values, "input_hash": codec.fingerprint_of(data)})
        for (sent,) in rows:
            route_now(sent)
        return bool(rows)

    def record_failed_step(self, failed: FailedAttempt, *, status: StepStatus) -> bool:
        """Record a failed attempt. False when the lease is gone, or the step has succeeded after all."""
        self.session.mend()
        written = self.write(sql.RECORD_FAILED_STEP, failed_attempt_values(failed, step_status=status))
        if written and status == StepStatus.FAILED:
            self.entries[failed.key] = Entry(StepKind.STEP, status, 0, "", error=step_error(failed))
        return bool(written)

    def record_failed_hook(self, failed: FailedAttempt) -> None:
        self.session.mend()
        failed = replace(failed, message=f"{HOOK_FAILED} {failed.message}")
        self.write(sql.RECORD_FAILED_HOOK, failed_attempt_values(failed, step_status=StepStatus.SUCCEEDED))

    def write(self, statement: LiteralString, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a fenced statement. A database failure in it must not look like the author's error.

        Raises:
            DatabaseLost: it failed, and whether it has written is unknown.
            django.db.Error: the database refuses these values, and would refuse them each time.
        """
        if self.session.has_died():
            self.session.django.close()
        try:
            return sql.fetch(statement, {**values, **self.lease.fence})
        except Error as error:
            if is_refusal(error) or self.session.may_have_caused(error):
                raise
            raise self.lose(error, step=values.get("key", "")) from error
        finally:
            self.session.used_at = time.monotonic()

    def lose(self, error: Error, *, step: str = "") -> DatabaseLost:
        """Note that the database was lost, and whether the last write was done is unknown."""
        self.lost = DatabaseLost(error, step=step)
        return self.lost

    def check(self) -> None:
        """Refuse to continue after a lost database: a body may have caught that error with a bare `except:`.

        Raises:
            DatabaseLost
        """
        if self.lost is not None:
            raise self.lost

    def check_output_limit(self, pauses: Sequence[Suspension]) -> None:
        """Refuse to wait for one more event when the outputs exceed their limit.

        The size of an event is known only when it has come, and is small compared with the limit.

        Raises:
            TooLarge: they do, because of the events that came so far.
        """
        limit = settings().TASK_OUTPUT_MAX_BYTES
        for pause in pauses:
            if pause.awaited:
                what = f"The sum of this task's outputs before step {pause.key!r}"
                codec.within("", used=self.output_bytes, limit=limit, what=what, setting="TASK_OUTPUT_MAX_BYTES")


def read_entries(lease: Lease) -> dict[str, Entry]:
    rows, now = sql.fetch(sql.LOAD_JOURNAL, {"task": lease.task}), time.monotonic()
    return {
        key: replace(Entry(*columns), is_due=due_in is not None and due_in <= 0, due_at=now + (due_in or 0))
        for key, *columns, due_in in rows
    }


def is_overdue(entry: Entry) -> bool:
    """Whether a sleep, a wait or a child has reached its time. A plain step is called then, and not closed."""
    return entry.status == StepStatus.WAITING and entry.kind != StepKind.STEP and entry.is_due


def failed_attempt_values(failed: FailedAttempt, *, step_status: StepStatus) -> dict[str, Any]:
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
    return codec.write({"type": failed.error_type, "message": failed.message})


def memoized_failure(key: str, entry: Entry) -> StepFailed:
    """The StepFailed that the body saw when this step failed."""
    error = codec.read(entry.error or "{}")
    return StepFailed(key, error.get("type", ""), error.get("message", ""))
