"""The heartbeat of an async worker: one row and one lock for all tasks that it executes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import psycopg
from django.db import Error

from taskqueue.engine import sql
from taskqueue.engine.async_worker.event_loop import EventLoop
from taskqueue.engine.author_code.chunks import ChunkBuffer
from taskqueue.engine.execution.activity import Activity, CrashRecord, CurrentWork
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.database_errors import error_line
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import CHANNEL, notify_now
from taskqueue.engine.worker.hard_timeouts import Deadline, HardTimeouts
from taskqueue.engine.worker.heartbeat import HEARTBEAT_INTERVAL, REASON_LENGTH, Heartbeat, cause_of, loss_by
from taskqueue.engine.worker.heartbeat_thread import HeartbeatThread
from taskqueue.engine.worker.step_reports import Reporter

logger = logging.getLogger("taskqueue.workers")

WORK_EVERY: Final = 1.0
"""Seconds between two writes of what the worker executes, while it changes."""

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at the leases while no task takes long."""

FORGOTTEN_AFTER: Final = 5.0
"""Seconds after which a task is released that is held under this worker's row and unknown to it."""


class Watched:
    """One execution, as the heartbeat watches it."""

    def __init__(self, activity: Activity, hard_timeouts: HardTimeouts) -> None:
        self.activity = activity
        self.hard_timeouts = hard_timeouts
        self.reporter = Reporter(activity)
        self.is_seen = False
        """Whether it was there at the check before: the leases of short tasks are not checked."""


class AsyncHeartbeat(Heartbeat):
    """The heartbeat of a worker that executes many tasks on one event loop.

    Its own `activity` is that of its claims. Each execution has another one, from `begin` to `end`.
    """

    def __init__(self, cluster: str, *, number: int, slots: int, loop: EventLoop, thread: HeartbeatThread) -> None:
        super().__init__(cluster, number=number, thread=thread)
        self.kind, self.slots = BodyKind.ASYNC, slots
        self.company: CompanyRecord | None = None
        self._loop = loop
        self.leases: dict[UUID, Lease] = {}
        self._unknown: dict[tuple[UUID, int], float] = {}
        self._watched: dict[int, Watched] = {}
        self._looked_at = self._excused_until = 0.0
        self._written_works: dict[int, CurrentWork] = {}
        self._blocked_by = ""
        self._blocking: Activity | None = None

    def ensure_started(self) -> None:
        """Register the worker, if it is not registered yet.

        Raises:
            django.db.Error, psycopg.Error: the database could not be reached.
        """
        if not self.worker:
            self.start()

    def stop(self, reason: str = "stopped") -> None:
        """End the worker's row, if it has one."""
        if self.worker:
            super().stop(reason)

    def begin(self, lease: Lease) -> Activity:
        """Watch another execution from now on. Called in the loop's thread, as `end`."""
        activity = Activity(set_hard_timeout=Deadline())
        if self.company is not None:
            activity.step_record = ExecutionRecord(self.company)
        self._watched[id(activity)] = Watched(activity, HardTimeouts(activity, end=self._end_process))
        activity.set_unsettled(lease)
        return activity

    def end(self, activity: Activity) -> None:
        """Watch an execution no more."""
        activity.set_unsettled(None)
        activity.set_hard_timeout(None)
        self._watched.pop(id(activity), None)

    def release_unknown(self) -> None:
        """Queue the tasks again that a lost answer of a claim has left to this worker. They were not begun.

        Raises:
            django.db.Error: the database is unreachable; call it again later.
        """
        for task, number in sql.fetch(sql.LEASES_OF_WORKER, {"worker": self.worker}):
            if not self._knows(task, number):
                sql.fetch(sql.standalone(sql.RELEASE), {"task": task, "worker": self.worker, "lease": number})
        notify_now()

    def _knows(self, task: UUID, number: int) -> bool:
        lease = self.leases.get(task)
        return lease is not None and lease.number == number

    def release_lost(self, lease: Lease, error: BaseException) -> None:
        """Queue a task again whose execution was ended by an error that is not its own, and record the lost attempt.

        Raises:
            django.db.Error: the database is unreachable; call it again later.
        """
        with self._thread.guard:  # the heartbeat must not have the row locked meanwhile
            reason = f"it met {error_line(cause_of(error))}"
            recover(lease.worker, reason=reason, loss=loss_by(error, lease), only=lease)

    def buffers(self) -> list[ChunkBuffer]:
        return [each.activity.chunks for each in self._all()]

    def release_all(self) -> None:
        """Release all tasks: the process is about to end. Under the guard."""
        self._to_release += self._leases()
        self._release()

    def _write_heartbeat(self) -> None:
        self._blocking = self._note_blocked_loop()
        since_write = time.monotonic() - self._written_at
        works = {id(each.activity): each.activity.current for each in self._all()}
        has_changed = works != self._written_works and since_write >= WORK_EVERY
        if self._written_claim_error != self._current_claim_error(self.activity.current):
            has_changed = True
        if has_changed or since_write >= HEARTBEAT_INTERVAL:
            self._written_works = works
            self._beat(min(works.values(), key=lambda work: work.since, default=self.activity.current))

    def _check_hard_timeouts(self) -> None:
        excused, now = 0.0, time.monotonic()
        if self._blocked_by:
            excused = min(now - self._excused_until, self._loop.blocked_seconds())
            self._excused_until = now
        for each in self._all():
            if excused and each.activity is not self._blocking:
                # It cannot end while another task's code keeps the loop: its process is not to be ended for that.
                each.activity.excuse(excused)
            else:
                each.hard_timeouts.check()

    def _write_for_tasks(self) -> None:
        self._check_leases()
        self._release()
        for each in self._all():
            self._report(each.activity, each.reporter)

    def _check_leases(self) -> None:
        """Mark the leases as lost whose tasks were cancelled or recovered; one query for all."""
        long = [each for each in self._all() if each.is_seen and each.activity.current.lease is not None]
        for each in self._all():
            each.is_seen = True
        if not long and time.monotonic() - self._looked_at < LOOK_EVERY:
            return
        rows = self._thread.open().execute(sql.LEASES_OF_WORKER, {"worker": self.worker}).fetchall()
        held, self._looked_at = dict(rows), time.monotonic()
        self._release_forgotten(held)
        for each in long:
            lease = each.activity.current.lease
            if lease is not None and (lease.worker != self.worker or held.get(lease.task) != lease.number):
                each.activity.lost_lease = lease

    def _release_forgotten(self, held: Mapping[UUID, int]) -> None:
        """Release what is held under this worker's row and stays unknown to it: no other process would do it.

        The answer of its claim was lost, or its row was locked when it was to be released.
        """
        now = time.monotonic()
        unknown = [each for each in held.items() if not self._knows(*each)]
        self._unknown = {each: self._unknown.get(each, now) for each in unknown}
        for task, number in [each for each, since in self._unknown.items() if now - since > FORGOTTEN_AFTER]:
            values = {"task": task, "worker": self.worker, "lease": number}
            self._thread.execute(sql.standalone(sql.RELEASE), values)
            self._thread.execute(sql.NOTIFY, {"channel": CHANNEL})

    def _note_blocked_loop(self) -> Activity | None:
        """Log which step keeps the event loop busy without an await, once. Returns the activity of its task."""
        seconds = self._loop.blocked_seconds()
        handle: Any = self._loop.running() if seconds else None
        activity: Activity | None = handle.execution.activity if handle is not None else None
        if not seconds:
            self._blocked_by = ""
        elif not self._blocked_by:
            step = activity.current.step if activity is not None else ""
            code = f"step {step!r} of task {handle.id}" if step else f"task {handle.id}" if handle else "a callback"
            since = time.strftime("%H:%M:%S", time.localtime(time.time() - seconds))
            self._blocked_by = (
                f"Its event loop is blocked since {since} by {code}, whose code does not await. No other async task of "
                "this process goes on meanwhile: let a plain step or asyncio.to_thread() call such code."
            )
            logger.warning("%s", self._blocked_by)
        return activity

    def _end_process(self, exit_code: int) -> None:
        with suppress(psycopg.Error, Error):
            self.release_all()
        super()._end_process(exit_code)

    def _current_claim_error(self, work: CurrentWork) -> str:
        return self._blocked_by[:REASON_LENGTH] or super()._current_claim_error(work)

    def _executing(self) -> int:
        return len(self._watched)

    def _steps(self) -> dict[str, tuple[str, float]]:
        works = [each.activity.current for each in self._all()]
        now = time.monotonic()
        return {str(work.lease.task): (work.step, round(now - work.since, 3)) for work in works if work.lease}

    def _leases(self) -> list[Lease]:
        leases = [each.activity.unsettled_lease for each in self._all()]
        return [lease for lease in leases if lease is not None]

    def _all(self) -> list[Watched]:
        """The executions, for the heartbeat's thread: others begin and end meanwhile."""
        return list(self._watched.values())


class CompanyRecord:
    """The crash record of a worker with several tasks: the last step that began, and whether other tasks run."""

    def __init__(self, record: CrashRecord) -> None:
        self.record = record
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Any, str]] = {}

    def write(self, key: int, task: Any, step: str) -> None:
        with self._lock:  # the loop's thread and those of plain code write
            if task is None or step:
                self._running.pop(key, None)
            if task is not None:
                self._running[key] = (task, step)
            self.record.write_company(has_company=len(self._running) > 1)
            self.record.write(*(next(reversed(self._running.values())) if self._running else (None, "")))


class ExecutionRecord:
    """What one execution notes in it."""

    def __init__(self, company: CompanyRecord) -> None:
        self._company = company

    def write(self, task: Any, step: str) -> None:
        self._company.write(id(self), task, step)
