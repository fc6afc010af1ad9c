"""Any process of a worker command may be killed at any time: work goes on, and no process is left behind."""

import os
import signal

import pytest

from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually, never

pytestmark = pytest.mark.process


def test_a_waiting_worker_is_killed_whichever_it_is_and_the_pool_works_again(start, notes):
    command = start()
    for index in (0, 1):
        sentinel = command.ready().sentinel()

        os.kill(command.workers()[index], signal.SIGKILL)

        eventually(lambda: command.sentinel() not in (0, sentinel), otherwise=command.said)  # noqa: B023
    task = enqueue_walk(notes)
    eventually(lambda: finished(task), otherwise=command.said)
    assert command.stop() == 0, command.said()


def test_a_waiting_worker_is_stopped_politely_and_stays(start, notes):
    command = start()
    worker = command.workers()[0]

    os.kill(worker, signal.SIGTERM)

    task = enqueue_walk(notes)
    eventually(lambda: finished(task), otherwise=command.said)
    assert worker in command.workers()


def test_the_monitor_is_killed_and_the_pool_works_again(start, notes):
    command = start()
    sentinel = command.sentinel()
    monitor, _ = command.monitor_and_pusher()

    os.kill(monitor, signal.SIGKILL)

    eventually(lambda: command.sentinel() not in (0, sentinel), otherwise=command.said)
    task = enqueue_walk(notes)
    eventually(lambda: finished(task), otherwise=command.said)


def test_the_process_at_the_doorbell_is_killed_and_replaced(start, notes):
    command = start()
    _, pusher = command.monitor_and_pusher()

    os.kill(pusher, signal.SIGKILL)

    task = enqueue_walk(notes)
    eventually(lambda: finished(task), otherwise=command.said)


def test_the_sentinel_is_killed_and_leaves_no_orphan_and_work_goes_on(start, notes):
    command = start()
    sentinel = command.sentinel()
    before = command.family()

    os.kill(sentinel, signal.SIGKILL)

    eventually(lambda: not (before - {command.process.pid}) & command.family(), otherwise=command.said)
    task = enqueue_walk(notes)
    eventually(lambda: finished(task), otherwise=command.said)
    assert command.stop() == 0, command.said()


def test_the_main_process_is_killed_and_leaves_no_orphan(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.begun(2), otherwise=command.said)
    assert len(command.family()) >= 6

    command.process.kill()
    command.wait()

    eventually(lambda: not command.family(), otherwise=command.said)


def test_a_pool_whose_workers_hang_is_started_anew(start, notes):
    command = start(watchdog=2)
    sentinel = command.sentinel()
    for worker in command.workers():
        os.kill(worker, signal.SIGSTOP)

    task = enqueue_walk(notes)

    eventually(lambda: command.sentinel() not in (0, sentinel), otherwise=command.said)
    eventually(lambda: finished(task), otherwise=command.said)
    assert "work is waiting" in command.said()


@pytest.mark.slow
def test_a_pool_whose_workers_are_all_busy_is_left_alone(start, notes):
    command = start(processes=1, watchdog=1)
    sentinel = command.sentinel()
    long_one, waiting_one = enqueue_walk(notes, wait_in=1), enqueue_walk(notes)
    eventually(lambda: notes.begun(1), otherwise=command.said)

    never(lambda: command.sentinel() != sentinel, during=2.5)

    notes.open_gate()
    eventually(lambda: finished(long_one) and finished(waiting_one), otherwise=command.said)
