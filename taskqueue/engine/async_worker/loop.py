"""The loop of an async worker: claim tasks while slots are free, execute them on the event loop, settle each."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

from django.db import connections

from taskqueue.context import ShouldStop
from taskqueue.engine.async_worker.event_loop import EventLoop
from taskqueue.engine.async_worker.execute import Conclusion, Threads, execute_async_task
from taskqueue.engine.async_worker.threads import ConnectedThreads, DefaultThreads
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.database_errors import error_line
from taskqueue.engine.runtime.deployed_pipelines import has_pipelines
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Outcome, Release
from taskqueue.engine.worker.first_claim import first_claim
from taskqueue.engine.worker.heartbeat import DATABASE_ERRORS, cause_of
from taskqueue.engine.worker.loop import OnExecution, is_fresh
from taskqueue.engine.worker.session import WorkerSession
from taskqueue.engine.worker.settle import settle_or_fail

logger = logging.getLogger("taskqueue.workers")

MOST_CLAIMED: Final = 20
"""Tasks that one claim takes: more would keep them from other processes with free slots."""

RETRY_DELAY: Final = 0.5
MAX_RETRY_DELAY: Final = 4.0


class AsyncSession(WorkerSession, Protocol):
    """What the loop needs of an async worker: `heartbeat.AsyncHeartbeat`, or a fake in tests."""

    claim_error: str
    is_draining: bool
    leases: dict[UUID, Lease]
    """Of the claimed tasks that have not ended."""

    def ensure_started(self) -> None:
        """Register the worker, if it is not. Raises django.db.Error, psycopg.Error."""

    def stop(self, reason: str = "stopped") -> None:
        """End the worker's row."""

    def begin(self, lease: Lease) -> Activity:
        """Watch another execution from now on."""

    def end(self, activity: Activity) -> None:
        """Watch an execution no more."""

    def release_unknown(self) -> None:
        """Release what the worker has claimed without having received it. Raises django.db.Error."""

    def release_lost(self, lease: Lease, error: BaseException) -> None:
        """Release a task whose execution was ended by an error that is not its own. Raises django.db.Error."""


class AsyncWorker:
    """Executes async tasks, as many at once as it has slots. Its methods are called from any thread.

    Args:
        session: the worker's row and heartbeat.
        loop: the event loop, which is not started yet.
        slots: how many tasks at once.
        threads: how many threads execute plain code that the tasks call.
        stopping: whether no task is to be claimed, and running ones are to stop at their next step.
        on_change: called when it begins or ends a task, in the loop's thread.
        on_execution: called after each execution.
    """

    def __init__(
        self,
        session: AsyncSession,
        loop: EventLoop,
        *,
        slots: int,
        threads: int,
        stopping: ShouldStop,
        on_change: Callable[[], None] = lambda: None,
        on_execution: OnExecution | None = None,
    ) -> None:
        self.session = session
        self._slots = slots
        self._stopping = stopping
        self._on_change, self._on_execution = on_change, on_execution
        self._threads = Threads(loop, ConnectedThreads("plain", threads))
        self._in_engine_thread = self._threads.call_in_engine_thread
        self._loop = loop
        self._executing: set[asyncio.Task[None]] = set()
        self._lock = threading.Lock()
        self._requested = 0
        """Slots kept for claims that are under way."""
        self._unheard_rings = 0
        self._is_rung = self._may_have_lost_a_claim = self._has_skipped_a_claim = False
        self._claiming: asyncio.Task[None] | None = None
        self._last_error = ""

    def start(self) -> None:
        """Start the event loop, and register the worker; at its first claim, if the database is away."""
        default_threads = DefaultThreads(max(self._slots, 32), thread_name_prefix="asyncio")
        self._loop.start(while_ticking=lambda: bool(self._executing), default_threads=default_threads)
        self.session.activity.thread = self._loop.thread
        self._threads.engine.submit(self._register)

    def stop(self, reason: str) -> None:
        """End the worker's row, its threads and the event loop. It executes nothing any more."""
        self.session.stop(reason)
        self._loop.stop()
        self._threads.engine.shutdown()
        self._threads.for_plain_code.shutdown()

    def ring(self) -> None:
        """Tasks may be due: claim as many as slots are free."""
        with self._lock:  # counted now: until the loop hears it, the process must not take this worker for idle
            self._unheard_rings += 1
        self._loop.call(self._hear)

    @property
    def is_idle(self) -> bool:
        """Whether it neither executes nor claims."""
        return not self._unheard_rings and self._claiming is None and not self._executing

    @property
    def can_claim(self) -> bool:
        """Whether it has a free slot, and does not drain."""
        return self._free_slots > 0 and not self.session.is_draining

    @property
    def _free_slots(self) -> int:
        return self._slots - len(self.session.leases) - self._requested

    def _hear(self) -> None:
        self._claim_soon()
        with self._lock:
            self._unheard_rings -= 1

    def _claim_soon(self) -> None:
        self._is_rung = True
        if self._claiming is None:
            self._claiming = self._loop.spawn(self._claim_all())

    async def _claim_all(self) -> None:
        """Claim until no task or no slot is left. A claim that fails is repeated until the database answers."""
        delay = RETRY_DELAY
        while self._is_rung:
            self._is_rung = False
            try:
                while leases := await self._in_engine_thread(self._claim):
                    self._begin(leases)
                self.session.claim_error = self._last_error = ""
            except BaseException as error:  # noqa: BLE001 - an error of the engine must not end the worker
                line = self._log(error, "claim a task")
                if delay > RETRY_DELAY:  # the first error may be a restart of the database
                    self.session.claim_error = line
                await self._in_engine_thread(connections.close_all)
                await asyncio.sleep(delay)
                delay, self._is_rung = min(delay * 2, MAX_RETRY_DELAY), not self._stopping()
        self._claiming = None
        self._on_change()

    def _register(self) -> None:
        try:
            self.session.ensure_started()
        except DATABASE_ERRORS:
            connections.close_all()

    def _claim(self) -> list[Lease]:
        """Claim tasks for the free slots."""
        self.session.ensure_started()
        if self._may_have_lost_a_claim:
            self._may_have_lost_a_claim = False
            with self._noting_lost_claims():
                self.session.release_unknown()
        with self._slots_for_a_claim(0) as most:
            # What is due without a caller is left to the main thread and the notifier, which woke this worker.
            can_claim = most > 0 and has_pipelines(self.session.kind)
            return self._noted(first_claim(self.session, self._stopping, most, runs_due=False) if can_claim else [])

    def _begin(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._executing.add(self._loop.spawn(self._execute(lease)))
        if leases:
            self._loop.tick()
            self._on_change()

    async def _execute(self, lease: Lease) -> None:
        activity, started_at = None, time.monotonic()
        try:
            activity = self.session.begin(lease)
            conclusion: Conclusion = Release
            if is_fresh(lease, self.session):
                conclusion = await execute_async_task(
                    lease, activity=activity, stopping=self._stopping, threads=self._threads
                )
            duration = timedelta(seconds=time.monotonic() - started_at)
            outcome, leases = await self._in_engine_thread(self._settle, lease, conclusion)
            self._begin(leases)
            if self._on_execution is not None:
                self._on_execution(lease, outcome, duration)
        except BaseException as error:  # noqa: BLE001 - one execution's error must not end the others
            self._log(error, f"execute task {lease.task}")
            await self._release(lease, error)
            self._claim_soon()
        finally:
            with self._lock:
                if self.session.leases.get(lease.task) is lease:  # its own end may have claimed it again
                    del self.session.leases[lease.task]
            self._executing.discard(asyncio.current_task())
            if activity is not None:
                self.session.end(activity)
            self._on_change()
        if self._has_skipped_a_claim and self._free_slots > 0:
            self._has_skipped_a_claim = False
            self._claim_soon()

    def _settle(self, lease: Lease, conclusion: Conclusion) -> tuple[Outcome, list[Lease]]:
        outcome = conclusion()
        with self._slots_for_a_claim(1) as most:
            claims_more = most > 0 and not self._stopping()
            claim_request = ClaimRequest(self.session.worker, most, self.session.kind) if claims_more else None
            outcome, leases = settle_or_fail(lease, outcome, claim_request)
            # Slots that became free meanwhile were not counted.
            self._has_skipped_a_claim = self._has_skipped_a_claim or len(leases) == most
            return outcome, self._noted(leases)

    @contextmanager
    def _slots_for_a_claim(self, ending: int) -> Iterator[int]:
        """Keep slots for the claim inside; how many tasks it may take. None while the loop could not begin them.

        Args:
            ending: how many tasks end with the claim, whose slots become free.
        """
        with self._noting_lost_claims():
            with self._lock:
                most = min(self._free_slots + ending, MOST_CLAIMED) if not self._loop.blocked_seconds() else 0
                self._requested += max(most, 0)
            try:
                yield most
            finally:
                with self._lock:
                    self._requested -= max(most, 0)

    @contextmanager
    def _noting_lost_claims(self) -> Iterator[None]:
        """Remember that a claim may have been written whose answer was lost."""
        try:
            yield
        except BaseException:
            self._may_have_lost_a_claim = True
            raise

    def _noted(self, leases: list[Lease]) -> list[Lease]:
        with self._lock:
            self.session.leases.update({lease.task: lease for lease in leases})
        return leases

    async def _release(self, lease: Lease, error: BaseException) -> None:
        """Release a lost task, as soon as the database answers. A stopped worker leaves that to recovery.

        What is locked meanwhile, or fails otherwise, is released by the heartbeat, which finds that it is unknown here.
        """
        delay = RETRY_DELAY
        while not self._stopping():
            try:
                await self._in_engine_thread(connections.close_all)
                await self._in_engine_thread(self.session.release_lost, lease, error)
            except DATABASE_ERRORS:
                await asyncio.sleep(delay)
                delay = min(delay * 2, MAX_RETRY_DELAY)
            except Exception as failure:  # noqa: BLE001 - the slot must become free
                self._log(failure, f"release task {lease.task}")
                return
            else:
                return

    def _log(self, error: BaseException, action: str) -> str:
        """Log an error, once for many tasks that meet it. Returns it as one line."""
        is_of_database = isinstance(error, DATABASE_ERRORS)
        line = error_line(cause_of(error)) if is_of_database else f"{type(error).__name__}: {message_of(error)}"
        if line != self._last_error and is_of_database:
            logger.warning("A worker lost the database, and could not %s: %s", action, line)
        elif line != self._last_error:
            logger.error("A worker failed to %s", action, exc_info=error)
        self._last_error = line
        return line
