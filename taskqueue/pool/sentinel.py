"""The sentinel: keeps the worker processes of one pool alive, and takes them down in good order."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import multiprocessing.connection
import os
import queue
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django import db
from django.db.backends.signals import connection_created
from django_q import cluster as django_q
from django_q.conf import Conf
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.status import Stat

from taskqueue.conf import settings
from taskqueue.engine.runtime import notify
from taskqueue.engine.runtime.sessions import name_sessions
from taskqueue.engine.runtime.stacks import own_file
from taskqueue.pool import claimed_tasks, worker_exits
from taskqueue.pool.notifier import Doorbell, bound_statements
from taskqueue.pool.orphans import die_with
from taskqueue.pool.shared_memory import LOOK_EVERY, STOP, Board, Flag

logger = logging.getLogger("taskqueue.workers")

STUCK = 70
"""Exit code of a sentinel whose pool can only be started anew."""
LOCK_PATIENCE = 1.0
IDLE_PATIENCE = 2.0
MONITOR_PATIENCE = 5.0
OVERDUE_AFTER = 5.0
SCHEDULES_EVERY = 30.0


class PoolSentinel(django_q.Sentinel):  # type: ignore[misc]  # django-q2 carries no types
    """django-q2's sentinel, hardened.

    A process that dies while it waits at one of the pool's queues leaves that queue locked for ever, and nobody
    notices. So when one may have died like that, this sentinel ends itself and with it the whole pool; `cluster`
    starts another one. A worker that dies over its work holds no lock, and is simply replaced.
    """

    monitor: Any
    pusher: Any

    def __init__(self, started: Flag, board: Board, cluster: UUID) -> None:
        self.board = board
        super().__init__(STOP, started, cluster)

    def start(self) -> None:
        """Spawn the pool and guard it until the stop flag is raised."""
        # Handlers rather than SIG_IGN, as programs that a step starts would inherit that.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _disregard)
        self.event_out = Flag()
        super().start()

    def guard(self) -> None:
        """Look after every process, at once when one ends, until it is time to stop."""
        self.start_event.set()
        schedules_at = time.monotonic() + SCHEDULES_EVERY
        while not self.stop_event.is_set():
            before = self.reincarnations
            self._tend_workers()
            self._tend_monitor_and_pusher()
            if Conf.SCHEDULER and time.monotonic() >= schedules_at:
                schedules_at = time.monotonic() + SCHEDULES_EVERY
                django_q.scheduler(broker=self.broker)
            Stat(self).save()
            self._rest(calmly=self.reincarnations > before)
        self.stop()

    def stop(self) -> None:
        """Let running steps end within the grace, then end what is left."""
        deadline = time.monotonic() + settings().STOP_GRACE.total_seconds()
        self.event_out.set()
        while self.pusher.is_alive() and time.monotonic() < deadline:
            self._return_messages()
            time.sleep(0.02)
        self._return_messages()
        self._send_home(deadline)
        for straggler in self._living():
            logger.warning("Worker %s did not end within the grace, and is killed", straggler.pid)
            straggler.kill()
            straggler.join()
            self._tell_how_it_died(straggler, stopped=True)
        self._stop_monitor()
        self.pusher.kill()

    def spawn_worker(self) -> None:
        """Start one more worker, on a free place of the board."""
        taken = {process.slot for process in self.pool}
        slot = next(slot for slot in range(self.board.slots) if slot not in taken)
        self.board.end(slot)
        self.board.slates[slot].wipe()
        timer = multiprocessing.Value("f", -1)
        target = partial(serve, self.board, slot)
        process = self.spawn_process(target, self.task_queue, self.result_queue, timer, self.timeout)
        process.slot, process.timer = slot, timer
        self.pool.append(process)

    def spawn_pusher(self) -> Any:
        """Start the process that waits at the doorbell."""
        return self.spawn_process(partial(push, self.board), self.task_queue, self.event_out, self.broker)

    def spawn_process(self, target: Callable[..., None], *args: Any) -> Any:
        """Start a process that does not outlive this one."""
        process = django_q.get_mp_context().Process(target=_child, args=(os.getpid(), target, *args))
        process.daemon = Conf.DAEMONIZE_WORKERS
        process.start()
        return process

    def _tend_workers(self) -> None:
        for process in list(self.pool):
            busy_for = self.board.busy_for(process.slot)
            if process.is_alive():
                if busy_for is not None and self._is_overdue(process, busy_for):
                    logger.warning("Worker %s overran django-q2's timeout, and is killed", process.pid)
                    process.kill()
                continue
            self._tell_how_it_died(process)
            if process.exitcode < 0:
                logger.warning("Worker %s was killed by signal %d", process.pid, -process.exitcode)
                if busy_for is None:
                    self._give_up("a waiting worker was killed")
                self._check_lock(self.result_queue)
            db.connections.close_all()
            self.pool.remove(process)
            self.spawn_worker()
            self.reincarnations += 1
            self._ring()

    def _tell_how_it_died(self, process: Any, *, stopped: bool = False) -> None:
        """Give back what a worker process held, with what its parent alone knows: its last note, and its exit code."""
        note = self.board.slates[process.slot].read()
        if not note.worker or (process.exitcode == 0 and note.task is None):
            return
        try:
            worker_exits.report(note, process.exitcode, stopped=stopped)
        except db.Error as error:
            logger.warning("How worker %s died could not be written: %s", process.pid, error)
        finally:
            db.connections.close_all()

    def _rest(self, *, calmly: bool) -> None:
        """Wait for a guard cycle or the death of a child; calmly, lest children that die at birth make us spin."""
        children = [process.sentinel for process in (*self.pool, self.monitor, self.pusher)]
        deadline = time.monotonic() + Conf.GUARD_CYCLE
        while time.monotonic() < deadline and not self.stop_event.is_set():
            if calmly:
                self.stop_event.wait(Conf.GUARD_CYCLE)
            elif multiprocessing.connection.wait(children, LOOK_EVERY):
                return

    def _ring(self) -> None:
        """Have what the dead worker held given back now rather than at the doorbell's next look."""
        try:
            notify.ring()
        except db.Error:
            logger.debug("A ring was lost", exc_info=True)
        finally:
            db.connections.close_all()

    def _tend_monitor_and_pusher(self) -> None:
        if not self.monitor.is_alive():
            self._give_up("the monitor died")
        if not self.pusher.is_alive():
            logger.warning("The process that waits for work died, and is replaced")
            self._check_lock(self.task_queue)
            db.connections.close_all()
            self.pusher = self.spawn_pusher()
            self.reincarnations += 1

    def _is_overdue(self, process: Any, busy_for: float) -> bool:
        # Read without its lock, which a worker killed at the wrong moment keeps for ever.
        limit: float = process.timer.get_obj().value
        return limit > 0 and busy_for > limit + OVERDUE_AFTER

    def _check_lock(self, written: Any) -> None:
        """Give up if the process that has just died took this queue's lock with it."""
        if not written._wlock.acquire(timeout=LOCK_PATIENCE):
            self._give_up("a process was killed while it wrote to a queue")
        written._wlock.release()

    def _give_up(self, reason: str) -> None:
        logger.error("The worker pool is started anew, as it may have got stuck: %s", reason)
        for process in self._living():
            process.kill()
        os._exit(STUCK)

    def _living(self) -> list[Any]:
        return [process for process in self.pool if process.is_alive()]

    def _return_messages(self) -> None:
        """Unlock what no worker has begun, or django-q2 would deliver it only after its `retry`."""
        with contextlib.suppress(queue.Empty, db.Error):
            while True:
                self.broker.give_back(self.task_queue.get(block=False)["ack_id"])

    def _send_home(self, deadline: float) -> None:
        pills = len(self.pool)
        idle_since = time.monotonic()
        while self._living() and time.monotonic() < deadline:
            while pills and self._put_pill():
                pills -= 1
            if any(self.board.busy_for(process.slot) is not None for process in self._living()):
                idle_since = time.monotonic()
            if time.monotonic() - idle_since > IDLE_PATIENCE:
                # Nobody works and nobody leaves: the queue is locked, and waiting longer helps no one.
                return
            time.sleep(0.02)

    def _put_pill(self) -> bool:
        try:
            self.task_queue.put("STOP", block=False)
        except queue.Full:
            return False
        return True

    def _stop_monitor(self) -> None:
        self.result_queue.put("STOP")
        _wait_until(lambda: not self.monitor.is_alive(), time.monotonic() + MONITOR_PATIENCE)
        self.monitor.kill()
        for each in (self.task_queue, self.result_queue):
            # What no one will read any more must not keep this process from ending.
            each.cancel_join_thread()


def serve(board: Board, slot: int, *queues: Any) -> None:
    """Be a worker process: django-q2's loop, with a heart, and marked on the board while busy."""

    def begin(**_: Any) -> None:
        board.begin(slot)

    def end(**_: Any) -> None:
        board.end(slot)

    name_sessions("worker")
    faulthandler.enable(own_file())  # what a crash leaves there is found by whoever recovers this worker
    claimed_tasks.keeper.slate = board.slates[slot]
    pre_execute.connect(begin, weak=False)
    post_execute_in_worker.connect(end, weak=False)
    try:
        claimed_tasks.keeper.heart()
    except claimed_tasks.DATABASE_ERRORS:
        db.connections.close_all()  # the first wake-up tries again
    try:
        django_q.worker(*queues)
    finally:
        claimed_tasks.keeper.stop("stopped" if STOP.is_set() else "recycled")


def push(board: Board, task_queue: Any, stop: Flag, doorbell: Doorbell) -> None:
    """Be the process that waits at the doorbell and feeds the workers."""
    name_sessions("notifier")
    connection_created.connect(bound_statements, dispatch_uid="taskqueue.workers.push")
    doorbell.feed(task_queue, board)
    django_q.pusher(task_queue, stop, doorbell)


def _child(parent: int, target: Callable[..., None], *args: Any) -> None:
    die_with(parent)
    target(*args)


def _wait_until(condition: Callable[[], bool], deadline: float) -> None:
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def _disregard(_number: int, _frame: object) -> None:
    """A stop reaches the whole process group; the main process alone decides how to go about it."""
