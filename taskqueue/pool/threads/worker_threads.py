"""The threads of a worker process: how many tasks it executes at once.

One thread executes short tasks alone, as several would only take turns. While a task takes longer, further threads are
woken, twice as many each time, as long as they find tasks. They leave tiny tasks to one that executes some already.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Final

from django import db

from taskqueue.engine.async_worker.loop import AsyncWorker
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.engine_threads import ENGINE_THREADS
from taskqueue.engine.worker.heartbeat import DATABASE_ERRORS
from taskqueue.engine.worker.heartbeat_thread import HeartbeatThread
from taskqueue.engine.worker.pace import SHORT, TINY
from taskqueue.engine.worker.reserved_slots import Queues, ReservedSlots
from taskqueue.pool.shared_memory import STOP, PoolStatus
from taskqueue.pool.threads.async_worker import start_async_worker
from taskqueue.pool.threads.thread_worker import ThreadWorker

logger = logging.getLogger("taskqueue.workers")

LOOK_EVERY: Final = 0.25
"""Seconds between looks at the threads when no task is known to wait for one."""

CLOSE_AFTER: Final = 30.0
"""Seconds after which an idle thread closes its database connection."""


class WorkerThreads:
    """The threads of this process that execute tasks. Without `start` there is only the first one, the main thread."""

    def __init__(self) -> None:
        self.first = ThreadWorker()
        self.async_worker: AsyncWorker | None = None
        self._others: list[ExtraThread] = []
        self._changed = threading.Condition()
        self._busy = threading.Event()
        self._status: PoolStatus | None = None
        self._index = 0
        self._is_first_idle = True
        self._is_first_woken = False
        self._may_be_more = False
        self._are_left = False
        self._is_async_to_ring = False
        self.first.after_first_claim = self._ring_async

    def run_until_idle(self) -> None:
        """Execute what is due in the main thread and in those that it wakes. Returns when all are idle."""
        self.begin()
        while True:
            is_idle = self.first.run_until_idle()
            self._ring_async()  # it may have stopped before its claim
            with self._changed:
                if is_idle and could_claim_more(self.first):
                    continue
                self._may_be_more = self._may_be_more and not is_idle
                self._is_first_idle = True
                self._wake_for_left()
                if is_idle or STOP.is_set() or self._others_are_idle():
                    self._note()
                    self._changed.wait_for(self._is_over)
                    if not self._is_first_woken:
                        self._busy.clear()
                        return
                self._is_first_idle = self._is_first_woken = False
                self._note()

    def start(self, status: PoolStatus, index: int) -> None:
        """Start the threads, and register a worker for each; later, if the database is away.

        Args:
            status: of the pool.
            index: of this process in it.
        """
        self.first.heartbeat_thread = HeartbeatThread()
        if status.async_slots:
            self.first.kind = BodyKind.PLAIN
            self.async_worker = start_async_worker(status, index, self.first, on_change=self._note_change)
        self.first.shared_state = status.worker_states[index][0]
        for number in range(1, status.threads):
            worker = ThreadWorker(number)
            worker.cluster, worker.heartbeat_thread = self.first.cluster, self.first.heartbeat_thread
            worker.shared_state, worker.kind = status.worker_states[index][number], self.first.kind
            self.add(worker)
        self._reserve_slots(status, index)
        try:
            self.first.current()
        except DATABASE_ERRORS:
            db.connections.close_all()  # the first wake-up tries again
        for thread in self._others:
            thread.start()
        if self._others or self.async_worker:
            self.watch(status, index)

    def watch(self, status: PoolStatus, index: int) -> None:
        """Start the thread that wakes the others."""
        self._status, self._index = status, index
        threading.Thread(target=self._watch, name=f"{ENGINE_THREADS}threads", daemon=True).start()

    def add(self, worker: ThreadWorker) -> ExtraThread:
        """Add a thread for this worker, and return it without starting it."""
        thread = ExtraThread(worker, self)
        self._others.append(thread)
        return thread

    def stop(self, reason: str) -> None:
        """End the rows of this process's workers."""
        if self.async_worker is not None:
            self.async_worker.stop(reason)
        for thread in self._others:
            thread.worker.stop(reason)
        self.first.stop(reason)

    def needs(self, thread: ExtraThread) -> bool:
        """Whether a thread whose tasks are tiny claims more; not while another one executes such tasks too."""
        with self._changed:
            is_followed = any(worker is not thread.worker for worker in self._with_tiny_tasks())
            thread.is_leaving = is_followed and thread.worker.slot is None
            return not thread.is_leaving

    def end(self, thread: ExtraThread) -> None:
        """Note that a thread has found no more tasks, or leaves them to another one."""
        with self._changed:
            if could_claim_more(thread.worker):
                thread.wake()
                return
            thread.is_busy = False
            self._are_left = self._are_left or thread.is_leaving
            self._may_be_more = self._may_be_more and thread.is_leaving
            self._wake_for_left()
            self._note()
            self._changed.notify_all()

    def _wake_for_left(self) -> None:
        """Wake a thread for the tasks that others have left, unless one executes tiny tasks, and so will end too.

        Its last claim may be older than the end of those tasks, which may have freed a slot.
        """
        if self._are_left and not self._with_tiny_tasks() and self._free():
            self._are_left, self._may_be_more = False, True
            self._wake(1)

    def _with_tiny_tasks(self) -> list[ThreadWorker]:
        """Those that claim, or execute tiny tasks, and go on."""
        busy = self._busy_workers()
        return [each for each in busy if not each.is_draining and not each.is_executing_longer_than(TINY)]

    def _busy_workers(self) -> list[ThreadWorker]:
        """Those that execute or claim, and go on."""
        busy = [each.worker for each in self._others if each.is_busy and not each.is_leaving]
        return busy if self._is_first_idle else [*busy, self.first]

    def _reserve_slots(self, status: PoolStatus, index: int) -> None:
        """Give each thread its slot, if the command reserves any."""
        if not status.reserved:
            return

        def publish(queues: Queues) -> None:
            # Tasks of async pipelines take no thread, whatever their queue.
            status.mark_open_queues(index, queues if self.async_worker is None else None)

        publish(None)
        slots = ReservedSlots(status.reserved, publish=publish, on_room=self._wake_refused)
        for worker in (self.first, *(each.worker for each in self._others)):
            worker.slot = slots.add_thread(worker)

    def _wake_refused(self) -> None:
        """Wake one free thread that may claim now what its last claim had to leave out."""
        with self._changed:
            if self._is_first_idle and could_claim_more(self.first):
                self._is_first_woken = True
            elif refused := [each for each in self._others if each.is_free and could_claim_more(each.worker)]:
                refused[0].wake()
            self._note()
            self._changed.notify_all()

    def begin(self) -> None:
        """Note that the main thread works. The event loop claims after it: at once they would wait for each other."""
        with self._changed:
            self._is_first_idle = self._is_first_woken = False
            self._may_be_more = True
            if self.first.is_draining:
                self._wake(1)
            self._note()
        self._is_async_to_ring = self.async_worker is not None
        self._busy.set()

    def _ring_async(self) -> None:
        """Have the event loop claim, once for each wake-up."""
        if self._is_async_to_ring and self.async_worker is not None:
            self._is_async_to_ring = False
            self.async_worker.ring()

    def _is_over(self) -> bool:
        return self._is_first_woken or self._others_are_idle()

    def _others_are_idle(self) -> bool:
        is_async_idle = self.async_worker is None or self.async_worker.is_idle
        return is_async_idle and not any(each.is_busy for each in self._others)

    def _note_change(self) -> None:
        """Note that the async worker has begun or ended a task."""
        with self._changed:
            self._note()
            self._changed.notify_all()

    def _watch(self) -> None:
        """Wake threads at a ring, and while the tasks of the busy ones take long."""
        assert self._status is not None  # noqa: S101 - set by `watch`
        bell = self._status.bell(self._index)
        while True:
            self._busy.wait()
            is_rung = bell.wait(SHORT if self._may_be_more and self._free() else LOOK_EVERY)
            with self._changed:
                if STOP.is_set() or not self._busy.is_set():
                    if is_rung and not STOP.is_set():
                        bell.ring()  # for the main thread, which has become idle meanwhile and waits for it
                    continue
                if is_rung:
                    self._may_be_more = True
                    if self.async_worker is not None and self.async_worker.can_claim:
                        self.async_worker.ring()
                    self._wake(1)
                elif self._may_be_more and (long := self._executing_long()):
                    self._wake(long)

    def _executing_long(self) -> int:
        """How many threads execute a task that takes long; 0 while one may be about to claim another task."""
        busy = self._busy_workers()
        return len(busy) if all(worker.is_executing_longer_than(SHORT) for worker in busy) else 0

    def _free(self) -> int:
        """How many threads could take a task now."""
        return sum(each.is_free for each in self._others) + (self._is_first_idle and not self.first.is_draining)

    def _wake(self, number: int) -> None:
        """Wake so many free threads, the main thread first, and none that drains. Under the lock."""
        if number and self._is_first_idle and not self._is_first_woken and not self.first.is_draining:
            self._is_first_woken = True
            number -= 1
        for thread in [each for each in self._others if each.is_free][:number]:
            thread.wake()
        self._note()
        self._changed.notify_all()

    def _note(self) -> None:
        if self._status is not None and (self._others or self.async_worker):
            can_take_async = self.async_worker is not None and self.async_worker.can_claim
            self._status.mark_free_threads(self._index, self._free() + can_take_async)


class ExtraThread:
    """A thread other than the main one: it sleeps until it is woken, and executes tasks until none is due."""

    def __init__(self, worker: ThreadWorker, threads: WorkerThreads) -> None:
        self.worker = worker
        self.is_busy = self.is_leaving = False
        worker.is_needed = lambda: threads.needs(self)
        self._threads = threads
        self._woken = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"{ENGINE_THREADS}thread-{worker.number + 1}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    @property
    def is_free(self) -> bool:
        """Whether it could take a task now."""
        return not self.is_busy and not self.worker.is_draining

    def wake(self) -> None:
        self.is_busy, self.is_leaving = True, False
        self._woken.set()

    def _run(self) -> None:
        with suppress(Exception):  # the first task tries again, and reports the error
            self.worker.current()
        while True:
            if not self._woken.wait(CLOSE_AFTER):
                db.connections.close_all()
                self._woken.wait()
            self._woken.clear()
            try:
                while not STOP.is_set() and not self.worker.run_until_idle():
                    pass
            except Exception:  # else the process would wait for this thread for ever
                logger.exception("A thread of this worker process failed; it continues with its next task")
            finally:
                self._threads.end(self)


def could_claim_more(worker: ThreadWorker) -> bool:
    """Whether it may claim now from a queue that its last claim left out, because other threads were claiming."""
    if worker.slot is None or worker.is_draining or STOP.is_set():
        return False
    return worker.slot.could_claim_more()


worker_threads = WorkerThreads()
