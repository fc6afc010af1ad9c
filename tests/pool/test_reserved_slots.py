"""Reserved slots in real worker processes: urgent tasks never wait behind slow ones."""

from __future__ import annotations

import os
import signal
import time

import pytest

from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.runtime.notify import notify_now
from taskqueue.models import Task, Worker
from taskqueue.pool.notifier import NotifierBroker
from taskqueue.pool.shared_memory import PoolStatus
from taskqueue.queues import TakenQueues
from tests.support.database.costs import commits
from tests.support.processes.worker_command import all_done, enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

FOREVER = 600


def nap(seconds: float) -> Task:
    return enqueue.enqueue("tests/nap", {"seconds": seconds})


def naps() -> int:
    return Task.objects.filter(pipeline="tests/nap", status="running").count()


@pytest.fixture
def urgent(transactional_db, notes):
    """Enqueues a task of queue urgent."""
    sync_pipelines()
    move_pipeline("tests/walk", "urgent")
    return lambda: enqueue_walk(notes)


def test_an_urgent_task_starts_at_once_while_slow_tasks_wait(start, urgent):
    command = start(processes=1, threads=5, arguments=["--reserve", "urgent=1"])
    for _ in range(30):
        nap(FOREVER)
    eventually(lambda: naps() == 4, details=command.output)

    for _ in range(3):
        urgent()
        eventually(lambda: not Task.objects.filter(pipeline="tests/walk").exclude(status="succeeded"))
        assert naps() == 4

    assert "1 process with 5 threads (reserved: urgent=1) on" in command.output()
    command.kill_all()


def test_other_queues_never_use_a_reserved_slot(start, urgent):
    command = start(processes=2, threads=3, arguments=["--reserve", "urgent=1"])
    for number in range(30):
        nap(0.3)
        if number % 3 == 0:
            urgent()
    eventually(all_done, details=command.output)

    spans = list(Task.objects.filter(pipeline="tests/nap").values_list("worker__pid", "started_at", "finished_at"))
    assert {pid for pid, _, _ in spans} == set(command.workers())
    for process in command.workers():
        own = [(started, ended) for pid, started, ended in spans if pid == process]
        assert max(sum(started <= at < ended for started, ended in own) for at, _ in own) == 2
    assert command.stop() == 0, command.output()


def test_urgent_tasks_may_use_all_threads(start, transactional_db):
    sync_pipelines()
    move_pipeline("tests/nap", "urgent")
    command = start(processes=1, threads=3, arguments=["--reserve", "urgent=1"])
    for _ in range(4):
        nap(FOREVER)

    eventually(lambda: naps() == 3, details=command.output)
    command.kill_all()


def test_all_threads_reserved_leaves_none_to_other_queues(start, urgent):
    move_pipeline("tests/three-at-a-time", "reports")
    command = start(processes=1, threads=3, arguments=["--reserve", "default=2,urgent=1"])
    assert "Warning: all 3 threads of each process are reserved, so this command takes no tasks of" in command.output()
    assert list(Worker.objects.values_list("queues", flat=True).distinct()) == [["default", "urgent"]]
    other = enqueue.enqueue("tests/three-at-a-time", {"seconds": 0})
    for _ in range(4):
        nap(FOREVER)

    eventually(lambda: naps() == 2, details=command.output)
    task = urgent()
    eventually(lambda: finished(task), details=command.output)

    other.refresh_from_db()
    assert (naps(), other.status) == (2, "queued")
    command.kill_all()


def test_a_replaced_process_reserves_its_slots_again(start, urgent):
    command = start(processes=1, threads=3, arguments=["--reserve", "urgent=1"])
    for _ in range(8):
        nap(FOREVER)
    eventually(lambda: naps() == 2, details=command.output)
    (killed,) = command.workers()

    os.kill(killed, signal.SIGKILL)

    eventually(lambda: command.workers() not in ([], [killed]) and naps() == 2, details=command.output)
    task = urgent()
    eventually(lambda: finished(task), details=command.output)
    assert naps() == 2
    command.kill_all()


def test_async_tasks_need_no_thread_and_leave_the_reserved_ones_free(start, urgent):
    command = start(processes=1, threads=2, async_slots=3, arguments=["--reserve", "urgent=1"])
    for _ in range(3):
        nap(FOREVER)
        enqueue.enqueue("tests/nap-async", {"seconds": FOREVER})
    executing = Task.objects.filter(pipeline="tests/nap-async", status="running")
    eventually(lambda: (naps(), executing.count()) == (1, 3), details=command.output)

    task = urgent()

    eventually(lambda: finished(task), details=command.output)
    assert (naps(), executing.count()) == (1, 3)
    command.kill_all()


def test_a_free_reserved_slot_does_not_poll_and_is_no_sign_of_a_stuck_pool(start, urgent):
    command = start(processes=1, threads=3, stuck_pool_timeout=1, arguments=["--reserve", "urgent=1"])
    for _ in range(20):
        nap(FOREVER)
    eventually(lambda: naps() == 2, details=command.output)
    sentinel, before, began = command.sentinel(), commits(), time.monotonic()

    eventually(lambda: time.monotonic() - began > 4)

    spent, seconds = commits() - before, time.monotonic() - began
    # Heartbeats, polls and the watchdog; a thread that looks for tasks again and again ends some hundreds a second.
    assert spent < 60 * seconds
    assert (command.sentinel(), naps()) == (sentinel, 2)
    task = urgent()
    eventually(lambda: finished(task), details=command.output)
    command.kill_all()


@pytest.fixture
def status():
    """Of a pool of one process, whose only free thread is reserved for queue urgent."""
    status = PoolStatus(1, threads=2, reserved={"mail": 1, "urgent": 1})
    status.mark_busy(0)
    status.mark_free_threads(0, 1)
    status.mark_open_queues(0, ("urgent",))
    return status


@pytest.fixture
def notifier(transactional_db, status):
    class EmptyQueue:
        def qsize(self) -> int:
            return 0

    notifier = NotifierBroker(list_key="taskqueue")
    notifier.attach(EmptyQueue(), status)
    yield notifier
    notifier._listener.close()


def test_tasks_of_other_queues_wake_no_reserved_thread(notifier, status):
    list(notifier.dequeue())
    for _ in range(3):
        nap(0)
        assert list(notifier.dequeue()) == []

    assert not status.bell(0).wait(0)


def test_a_task_of_its_queue_wakes_a_reserved_thread(notifier, status, urgent):
    list(notifier.dequeue())
    nap(0)
    list(notifier.dequeue())

    urgent()
    assert list(notifier.dequeue()) == []

    assert status.bell(0).wait(0)


def test_a_notification_wakes_a_thread_for_all_queues_before_any_query(notifier, status):
    list(notifier.dequeue())
    status.mark_open_queues(0, None)
    notify_now()

    list(notifier.dequeue())

    assert status.bell(0).wait(0)


def test_open_queues_are_those_of_all_processes_with_a_free_thread():
    status = PoolStatus(2, threads=2, reserved={"mail": 1, "urgent": 1})
    assert status.open_queues() is None, "an idle process takes all queues"
    for index in range(2):
        status.mark_busy(index)
    assert status.open_queues() is None, "no thread is free"

    status.mark_free_threads(0, 1)
    status.mark_open_queues(0, ("urgent",))
    assert status.open_queues() == TakenQueues(("urgent",))
    status.mark_open_queues(1, ("mail",))
    assert status.open_queues() == TakenQueues(("urgent",))
    status.mark_free_threads(1, 1)
    assert status.open_queues() == TakenQueues(("mail", "urgent"))
    status.mark_open_queues(1, None)
    assert status.open_queues() is None
