"""The heartbeat of a worker: its row, and its advisory lock, which a dead process loses."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Final, LiteralString

import psycopg
from django.db import Error
from django.db.models import QuerySet
from django.db.models.functions import Now

from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.author_code.chunks import ChunkBuffer
from taskqueue.engine.execution.activity import Activity, CrashRecord, CurrentWork, take_all
from taskqueue.engine.maintenance.recovery import Loss, recover
from taskqueue.engine.runtime.claim_request import ClaimSlot
from taskqueue.engine.runtime.database_errors import error_line, error_name, is_refusal
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.failures import traceback_of
from taskqueue.engine.runtime.forks import detach_children
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT, LOCK_SPACE
from taskqueue.engine.runtime.notify import CHANNEL
from taskqueue.engine.runtime.outcomes import DatabaseLost
from taskqueue.engine.runtime.stacks import delete_crash_dump
from taskqueue.engine.runtime.taken_queues import taken_queues
from taskqueue.engine.worker.hard_timeouts import Deadline, HardTimeouts
from taskqueue.engine.worker.heartbeat_thread import LOCKED, HeartbeatThread
from taskqueue.engine.worker.held_ends import End, finish_values
from taskqueue.engine.worker.step_reports import Reporter
from taskqueue.json_values.codec import printable
from taskqueue.models import Worker

HEARTBEAT_INTERVAL = 5.0
CLAIM_TIMEOUT = 5.0
"""Seconds after which an unanswered claim is reported as a claim error."""
CLAIM_UNANSWERED = "PostgreSQL has not answered its claim for five seconds. Is a table locked?"
REASON_LENGTH = 300

DATABASE_ERRORS: Final = (Error, psycopg.Error, DatabaseLost)
"""What a worker's own statements raise."""

LOCK: LiteralString = "SELECT pg_try_advisory_lock(%(space)s::int, %(worker)s::int)"
UNLOCK: LiteralString = "SELECT pg_advisory_unlock(%(space)s::int, %(worker)s::int)"
REGISTER: LiteralString = """
INSERT INTO taskqueue_worker (
    host, pid, thread, slots, cluster, version, pipelines, queues, not_queues, started_at, heartbeat_at, end_reason,
    step, claim_error, draining_at
)
VALUES (
    %(host)s, %(pid)s, %(thread)s, %(slots)s, %(cluster)s, %(version)s, %(pipelines)s::jsonb,
    %(queues)s::jsonb, %(not_queues)s::jsonb, statement_timestamp(), statement_timestamp(), '', '', %(claim_error)s,
    -- A draining worker keeps draining under its new row.
    (SELECT draining_at FROM taskqueue_worker WHERE id = %(previous)s::int)
)
RETURNING id
"""
END_WORKER: LiteralString = """
UPDATE taskqueue_worker
SET ended_at = statement_timestamp(), end_reason = %(reason)s, task_id = NULL, step = '', executing = 0
WHERE id = %(worker)s AND ended_at IS NULL
"""


class Heartbeat:
    """The heartbeat of a worker: one for each thread of a process that executes tasks.

    Attributes:
        kind: which pipelines it claims tasks of.
        slot: what its claims are counted in; None when its process reserves no slots.
        slots: how many tasks it executes at once.
        worker: the id of this worker's row. It changes when another process has presumed this worker dead.
        activity: what the worker does now.
        crash_record: where it notes this.
        claim_error: why this worker's last claims failed; empty when they did not.
        is_draining: whether it claimed no tasks at its last heartbeat, because it drains.
    """

    def __init__(self, cluster: str, *, number: int = 0, thread: HeartbeatThread | None = None) -> None:
        self.cluster = cluster
        self.number = number
        self.kind = BodyKind.ANY
        self.slot: ClaimSlot | None = None
        self.slots = 1
        self.worker = 0
        self.activity = Activity()
        self.crash_record: CrashRecord | None = None
        self.claim_error = ""
        self.is_draining = False
        self._written_claim_error = ""
        self._written_at = 0.0
        self._seen = self._written_work = CurrentWork()
        self._locked = False
        self._long_lease: Lease | None = None
        self._hard_timeouts = HardTimeouts(self.activity, end=self._end_process)
        self._reporter = Reporter(self.activity)
        self._to_release: list[Lease] = []
        self._to_end: list[End] = []
        self._thread = thread or HeartbeatThread()

    def start(self) -> None:
        """Register this worker and have it checked.

        Raises:
            django.db.Error, psycopg.Error: the database could not be reached.
        """
        with self._thread.guard:
            self._register()
            self.activity.set_hard_timeout = Deadline()
            detach_children()
            self._thread.add(self)

    def renew(self, error: BaseException) -> None:
        """End this worker's row, release its leases, and continue under a new row.

        Args:
            error: the error that the worker loop raised. The current task gets a lost attempt with it, and waits for a
                while when that happens again; prefetched tasks go back to the queue.

        Raises:
            django.db.Error, psycopg.Error: the database is still unreachable; call it again later.
        """
        with self._thread.guard:
            self._thread.open()
            self._write_ends_unless_locked()
            self._to_end.clear()
            recover(
                self.worker,
                reason=f"it met {error_line(cause_of(error))}",
                loss=loss_by(error, self.activity.unsettled_lease),
            )
            self.activity.set_unsettled(None)
            self.activity.prefetched.clear()
            self.activity.held_ends.clear()
            self._register()

    def stop(self, reason: str = "stopped") -> None:
        """End this worker's row. A database error is ignored: the lock is lost at the end of the process."""
        with self._thread.guard:
            try:
                self._write_ends_unless_locked()
                self._release()
                self._thread.execute(END_WORKER, {"worker": self.worker, "reason": reason})
                self._unlock()
            except (psycopg.Error, Error):
                self._thread.close()
            if self._thread.remove(self):
                self._thread.close()
                delete_crash_dump()

    def release_all(self) -> None:
        """Release what this worker executes and has claimed: its process is about to end. Under the guard."""
        lease = self.activity.unsettled_lease
        self._to_release += [*self.activity.prefetched, *([lease] if lease else [])]
        self._write_ends_unless_locked()
        self._release()

    def buffers(self) -> list[ChunkBuffer]:
        """What its steps write for callers."""
        return [self.activity.chunks]

    def lose_lock(self) -> None:
        """Take the lock again and write the row at the next check: the connection was lost."""
        self._locked, self._written_at = False, 0.0

    def check(self, *, beats_only: bool) -> bool:
        """Write the heartbeat when it is due or the worker's work lasts; then check its lease and release tasks.

        Args:
            beats_only: leave out the statements that may wait for a lock on tasks.

        Returns:
            Whether one of these has waited for a lock in vain.
        """
        if not self._locked:
            self._locked = self._take_lock(self.worker)
        self._write_heartbeat()
        # Statements that may wait for a lock on tasks come last, and wait for a moment only.
        meets_lock = False
        if not beats_only:
            try:
                self._write_for_tasks()
            except LOCKED:
                meets_lock = True
        self._check_hard_timeouts()
        return meets_lock

    def _write_heartbeat(self) -> None:
        work, previous, self._seen = self.activity.current, self._seen, self.activity.current
        self._long_lease = work.lease if work.lease is previous.lease else None
        if self._long_lease is not None:
            self._to_release += take_all(self.activity.prefetched)
        is_long = work is previous and work is not self._written_work
        has_changed = self._written_claim_error != self._current_claim_error(work)
        if is_long or has_changed or time.monotonic() - self._written_at >= HEARTBEAT_INTERVAL:
            self._beat(work)

    def _write_for_tasks(self) -> None:
        if self._long_lease is not None:
            self._check_lease(self._long_lease)
        self._release()
        self._report(self.activity, self._reporter)
        if self._long_lease is not None or self._to_end:
            self._write_ends()

    def _check_hard_timeouts(self) -> None:
        self._hard_timeouts.check()

    def _end_process(self, exit_code: int) -> None:
        """End the process for this worker's sake, and let its other workers' tasks continue elsewhere at once."""
        try:
            if self.crash_record is not None:
                self.crash_record.write_end()
            self._thread.release_others(self)
        finally:
            os._exit(exit_code)

    def _beat(self, work: CurrentWork) -> None:
        """Write the row. If another process has ended it, register a new one; the old leases are fenced off."""
        claim_error = self._current_claim_error(work)
        values = {
            "worker": self.worker,
            "task": work.lease.task if work.lease else None,
            "step": work.step,
            "executing": self._executing(),
            "steps": json.dumps(self._steps()),
            "elapsed": timedelta(seconds=time.monotonic() - work.since),
            "claim_error": claim_error,
        }
        row = self._thread.open().execute(sql.HEARTBEAT, values).fetchone()
        if row is None:
            for lease in self._leases():
                self._thread.execute(sql.CORRECT_LOSS, lease.fence)
            self._register()
        else:
            (self.is_draining,) = row
            self._written_claim_error = claim_error
        self._written_at = time.monotonic()
        self._written_work = work

    def _executing(self) -> int:
        return int(self.activity.current.lease is not None)

    def _steps(self) -> dict[str, tuple[str, float]]:
        """For each task of an event loop its step, and for how many seconds it runs."""
        return {}

    def _leases(self) -> list[Lease]:
        lease = self.activity.current.lease
        return [lease] if lease is not None else []

    def _current_claim_error(self, work: CurrentWork) -> str:
        if work.is_claiming and time.monotonic() - work.since > CLAIM_TIMEOUT:
            return CLAIM_UNANSWERED
        return self.claim_error[:REASON_LENGTH]

    def _check_lease(self, lease: Lease) -> None:
        """Mark the lease as lost when the task was cancelled or recovered."""
        if self._thread.execute(sql.CHECK_LEASE, lease.fence) == 0:
            self.activity.lost_lease = lease

    def _write_ends(self) -> None:
        """Write the ends that the worker holds, since its current task takes long, or its leases are to be released."""
        self._to_end += take_all(self.activity.held_ends)
        if not self._to_end:
            return
        refused = self._finish(self._to_end)
        # One by one, so that only the task whose result cannot be stored is executed again, and fails then.
        self._to_release += [end[0] for end in self._to_end if refused and self._finish([end])]
        self._to_end.clear()

    def _write_ends_unless_locked(self) -> None:
        with suppress(*LOCKED):
            self._write_ends()

    def _finish(self, ends: list[End]) -> bool:
        """Write these ends. Returns whether they are refused for their content."""
        try:
            self._thread.execute(sql.standalone(sql.FINISH_MANY), finish_values(ends))
        except psycopg.Error as error:
            if not is_refusal(error) and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                raise
            return True
        return False

    def _release(self) -> None:
        """Release the tasks that were taken. A lease leaves the list only when that is certain."""
        if not self._to_release:
            return
        for lease in list(self._to_release):
            self._thread.execute(sql.standalone(sql.RELEASE), lease.fence)
            self._to_release.remove(lease)
        self._thread.execute(sql.NOTIFY, {"channel": CHANNEL})

    def _report(self, activity: Activity, reporter: Reporter) -> None:
        """Write the newest progress, under the lease for which it was reported, and the report on a long step."""
        progress, activity.progress = activity.progress, None
        if progress is not None:
            lease, fraction, note = progress
            self._thread.execute(sql.REPORT_PROGRESS, {**lease.fence, "progress": fraction, "note": note})
        if (report := reporter.next_report()) is not None:
            self._thread.execute(sql.REPORT_STEP, report)

    def _register(self) -> None:
        """Insert this worker's row and take its lock in one transaction, so that no process sees the row unlocked."""
        connection = self._thread.open()
        claim_error = self._current_claim_error(self.activity.current)
        values = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "thread": self.number,
            "slots": self.slots,
            "cluster": self.cluster,
            "version": running_version(),
            "pipelines": json.dumps([each.name for each in registry.all() if self.kind.includes(each)]),
            "queues": json.dumps(taken_queues().names),
            "not_queues": json.dumps(taken_queues().excluded),
            "previous": self.worker,
            "claim_error": claim_error,
        }
        self._unlock()
        with connection.transaction():
            row = connection.execute(REGISTER, values).fetchone()
            assert row is not None  # noqa: S101 - INSERT … RETURNING
            worker: int = row[0]
            locked = self._take_lock(worker)
        # After the commit: the worker claims under this id, which must exist.
        self.worker, self._locked = worker, locked
        self._written_claim_error = claim_error
        self._written_at = time.monotonic()
        if self.crash_record is not None:
            self.crash_record.write_worker(worker, self.activity.thread)

    def _take_lock(self, worker: int) -> bool:
        """Take a worker's lock. False while the server still has the session of a lost connection."""
        row = self._thread.open().execute(LOCK, {"space": LOCK_SPACE, "worker": worker}).fetchone()
        return row is not None and bool(row[0])

    def _unlock(self) -> None:
        """Give the lock of this worker's row back: the session stays, with the locks of other workers."""
        if self._locked:
            self._thread.execute(UNLOCK, {"space": LOCK_SPACE, "worker": self.worker})
            self._locked = False


def loss_by(error: BaseException, in_hand: Lease | None) -> Loss:
    """The loss of the current task by an error of the worker loop, which is no death of a process."""
    cause = cause_of(error)
    is_of_the_database = isinstance(cause, Error | psycopg.Error)
    return Loss(
        task=in_hand.task if in_hand else None,
        step=error.step if isinstance(error, DatabaseLost) else "",
        error_type=error_name(cause),
        message=printable(error_line(cause)),
        traceback="" if is_of_the_database else traceback_of(cause),
        backs_off=True,
    )


def cause_of(error: BaseException) -> BaseException:
    """The database's error in a DatabaseLost; other errors as they are."""
    return error.error if isinstance(error, DatabaseLost) else error


def live_workers() -> QuerySet[Worker]:
    """Workers that have not ended and have a recent heartbeat."""
    return Worker.objects.filter(ended_at=None, heartbeat_at__gt=Now() - HEARTBEAT_TIMEOUT)


def workers_with_claim_errors() -> QuerySet[Worker]:
    """Live workers whose claims fail."""
    return live_workers().exclude(claim_error="")


def running_version() -> str:
    """The installed version of taskqueue."""
    try:
        return version("django-durable-taskqueue")
    except PackageNotFoundError:
        return "unpackaged"
