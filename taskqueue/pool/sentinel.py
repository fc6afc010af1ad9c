"""The sentinel: replaces dead worker processes of one pool, and stops all of them in order."""

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
from taskqueue.engine import tracing
from taskqueue.engine.runtime import notify
from taskqueue.engine.runtime.sessions import name_sessions
from taskqueue.engine.runtime.stacks import crash_dump_file
from taskqueue.pool import worker_exits
from taskqueue.pool.claimed_tasks import Messages
from taskqueue.pool.notifier import NotifierBroker, set_statement_timeout
from taskqueue.pool.orphans import die_with
from taskqueue.pool.shared_memory import POLL_SECONDS, STOP, Flag, PoolStatus
from taskqueue.pool.threads.worker_threads import worker_threads

logger = logging.getLogger("taskqueue.workers")

STUCK_EXIT_CODE = 70
"""Of a sentinel that has given its pool up; `cluster` starts another one."""
QUEUE_LOCK_TIMEOUT = 1.0
IDLE_STOP_TIMEOUT = 2.0
TRUSTED_SECONDS = 5.0
"""How long after its last use a worker's connection is not checked. If it is lost, the claim fails and is repeated."""
MONITOR_STOP_TIMEOUT = 5.0
OVERDUE_AFTER = 5.0
SCHEDULES_EVERY = 30.0
STOP_POLL_SECONDS = 0.02


class PoolSentinel(django_q.Sentinel):  # type: ignore[misc]  # django-q2 carries no types
    """django-q2's sentinel, hardened.

    A process that dies while it waits at a queue of the pool may leave the queue locked for ever, without a sign. When
    that is possible, this sentinel ends itself and thereby the whole pool, and `cluster` starts another one. A worker
    that dies in a step holds no queue lock, and only this worker is replaced.
    """

    monitor: Any
    pusher: Any

    def __init__(self, started: Flag, status: PoolStatus, cluster: UUID) -> None:
        self.pool_status = status
        super().__init__(STOP, started, cluster)

    def start(self) -> None:
        # A stop reaches the whole process group, and only the main process handles it. Handlers instead of SIG_IGN,
        # which programs that a step starts would inherit.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        self.event_out = Flag()
        super().start()

    def guard(self) -> None:
        """Replace processes as soon as they end, until the stop flag is set; then stop the pool."""
        self.start_event.set()
        schedules_at = time.monotonic() + SCHEDULES_EVERY
        while not self.stop_event.is_set():
            before = self.reincarnations
            self._replace_dead_workers()
            self._replace_dead_notifier()
            if Conf.SCHEDULER and time.monotonic() >= schedules_at:
                schedules_at = time.monotonic() + SCHEDULES_EVERY
                django_q.scheduler(broker=self.broker)
            Stat(self).save()
            self._wait_for_exit(has_replaced=self.reincarnations > before)
        self.stop()

    def stop(self) -> None:
        """Let running steps end within STOP_GRACE, then kill the remaining workers."""
        deadline = time.monotonic() + settings().STOP_GRACE.total_seconds()
        self.event_out.set()
        while self.pusher.is_alive() and time.monotonic() < deadline:
            self._release_messages()
            time.sleep(STOP_POLL_SECONDS)
        self._release_messages()
        self._stop_workers(deadline)
        for process in self._alive_workers():
            logger.warning("Worker %s did not end within the grace, and is killed", process.pid)
            process.kill()
            process.join()
            self._report_exit(process, stopped=True)
        self._stop_monitor()
        self.pusher.kill()

    def spawn_worker(self) -> None:
        used = {process.index for process in self.pool}
        index = next(index for index in range(self.pool_status.processes) if index not in used)
        self.pool_status.mark_idle(index)
        for state in self.pool_status.worker_states[index]:
            state.clear()
        timer = multiprocessing.Value("f", -1)
        target = partial(run_worker, self.pool_status, index)
        process = self.spawn_process(target, self.task_queue, self.result_queue, timer, self.timeout)
        process.index, process.timer = index, timer
        self.pool.append(process)

    def spawn_pusher(self) -> Any:
        """Start the notifier's process, which django-q2 calls the pusher."""
        return self.spawn_process(partial(run_notifier, self.pool_status), self.task_queue, self.event_out, self.broker)

    def spawn_process(self, target: Callable[..., None], *args: Any) -> Any:
        """Start a process that does not outlive this one."""
        process = django_q.get_mp_context().Process(target=_run_child, args=(os.getpid(), target, *args))
        process.daemon = Conf.DAEMONIZE_WORKERS
        process.start()
        return process

    def _replace_dead_workers(self) -> None:
        for process in list(self.pool):
            busy_seconds = self.pool_status.busy_seconds(process.index)
            if process.is_alive():
                if busy_seconds is not None and self._is_overdue(process, busy_seconds):
                    logger.warning("Worker %s overran django-q2's timeout, and is killed", process.pid)
                    process.kill()
                continue
            self._report_exit(process)
            if process.exitcode < 0:
                logger.warning("Worker %s was killed by signal %d", process.pid, -process.exitcode)
                if busy_seconds is None:
                    self._restart_pool("an idle worker was killed")
                self._check_lock(self.result_queue)
            db.connections.close_all()
            self.pool.remove(process)
            self.spawn_worker()
            self.reincarnations += 1
            self._notify()

    def _report_exit(self, process: Any, *, stopped: bool = False) -> None:
        """Recover the tasks of a dead process, with its last states and its exit code, which only its parent knows."""
        states = [state.read() for state in self.pool_status.worker_states[process.index]]
        try:
            worker_exits.report(states, process.exitcode, stopped=stopped)
        except db.Error as error:
            logger.warning("The exit of worker %s could not be recorded: %s", process.pid, error)
        finally:
            db.connections.close_all()

    def _wait_for_exit(self, *, has_replaced: bool) -> None:
        """Wait for a guard cycle or the end of a child. After a replacement always wait for the whole cycle, because
        the new process may end at once too.
        """
        children = [process.sentinel for process in (*self.pool, self.monitor, self.pusher)]
        deadline = time.monotonic() + Conf.GUARD_CYCLE
        while time.monotonic() < deadline and not self.stop_event.is_set():
            if has_replaced:
                self.stop_event.wait(Conf.GUARD_CYCLE)
            elif multiprocessing.connection.wait(children, POLL_SECONDS):
                return

    def _notify(self) -> None:
        """Have the tasks of a dead worker recovered now, and not at the notifier's next poll."""
        try:
            notify.notify_now()
        except db.Error:
            logger.debug("A notification was lost", exc_info=True)
        finally:
            db.connections.close_all()

    def _replace_dead_notifier(self) -> None:
        if not self.monitor.is_alive():
            self._restart_pool("the monitor died")
        if not self.pusher.is_alive():
            logger.warning("The notifier process died, and is replaced")
            self._check_lock(self.task_queue)
            db.connections.close_all()
            self.pusher = self.spawn_pusher()
            self.reincarnations += 1

    def _is_overdue(self, process: Any, busy_seconds: float) -> bool:
        # Read without its lock: a worker that was killed with the lock keeps it for ever.
        limit: float = process.timer.get_obj().value
        return limit > 0 and busy_seconds > limit + OVERDUE_AFTER

    def _check_lock(self, written: Any) -> None:
        """Restart the pool if the process that has just died holds the write lock of this queue."""
        if not written._wlock.acquire(timeout=QUEUE_LOCK_TIMEOUT):
            self._restart_pool("a process was killed while it wrote to a queue")
        written._wlock.release()

    def _restart_pool(self, reason: str) -> None:
        logger.error("The worker pool is restarted, because it may be stuck: %s", reason)
        for process in self._alive_workers():
            process.kill()
        os._exit(STUCK_EXIT_CODE)

    def _alive_workers(self) -> list[Any]:
        return [process for process in self.pool if process.is_alive()]

    def _release_messages(self) -> None:
        """Unlock the messages that no worker has begun. Otherwise django-q2 delivers them only after its `retry`."""
        with contextlib.suppress(queue.Empty, db.Error):
            while True:
                self.broker.release_message(self.task_queue.get(block=False)["ack_id"])

    def _stop_workers(self, deadline: float) -> None:
        left = len(self.pool)
        idle_since = time.monotonic()
        while (alive := self._alive_workers()) and time.monotonic() < deadline:
            with contextlib.suppress(queue.Full):
                while left:
                    self.task_queue.put("STOP", block=False)
                    left -= 1
            if any(self.pool_status.busy_seconds(process.index) is not None for process in alive):
                idle_since = time.monotonic()
            if time.monotonic() - idle_since > IDLE_STOP_TIMEOUT:
                # All workers are idle and none ends: the queue is locked, and waiting longer does not help.
                return
            time.sleep(STOP_POLL_SECONDS)

    def _stop_monitor(self) -> None:
        self.result_queue.put("STOP")
        deadline = time.monotonic() + MONITOR_STOP_TIMEOUT
        while self.monitor.is_alive() and time.monotonic() < deadline:
            time.sleep(STOP_POLL_SECONDS)
        self.monitor.kill()
        for each in (self.task_queue, self.result_queue):
            # Messages that no process will read must not keep this process from ending.
            each.cancel_join_thread()


def run_worker(status: PoolStatus, index: int, messages: Any, *others: Any) -> None:
    """Be a worker process: django-q2's loop with a heartbeat, marked as busy or idle in the pool status."""

    idle_since = -TRUSTED_SECONDS

    def mark_busy(**_: Any) -> None:
        status.mark_busy(index)
        if time.monotonic() - idle_since < TRUSTED_SECONDS:
            # django-q2 has had it checked again: a round trip more before each claim.
            db.connection.health_check_done = True  # type: ignore[attr-defined]  # not in the stubs

    def mark_idle(**_: Any) -> None:
        nonlocal idle_since
        status.mark_idle(index)
        idle_since = time.monotonic()

    name_sessions("worker")
    faulthandler.enable(crash_dump_file())  # the process that recovers this worker reads the stack of a crash there
    pre_execute.connect(mark_busy, weak=False)
    post_execute_in_worker.connect(mark_idle, weak=False)
    worker_threads.start(status, index)
    try:
        django_q.worker(Messages(messages, status.bell(index)), *others)
    finally:
        worker_threads.stop("stopped" if STOP.is_set() else "recycled")
        tracing.flush()


def run_notifier(status: PoolStatus, task_queue: Any, stop: Flag, broker: NotifierBroker) -> None:
    """Be the notifier's process: pass the broker's messages on to the workers."""
    name_sessions("notifier")
    connection_created.connect(set_statement_timeout, dispatch_uid="taskqueue.workers.push")
    broker.attach(task_queue, status)
    django_q.pusher(task_queue, stop, broker)


def _run_child(parent: int, target: Callable[..., None], *args: Any) -> None:
    die_with(parent)
    target(*args)
