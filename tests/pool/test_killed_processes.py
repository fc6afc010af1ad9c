"""Any process of a worker command may be killed at any time: work continues, and no process is left behind."""

import os
import signal

import pytest

from taskqueue.models import Step, Task
from tests.support.processes.pipelines import squares_four_at_a_time
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually, never

pytestmark = pytest.mark.process


def test_the_pool_works_after_any_idle_worker_is_killed(start, notes):
    command = start()
    for index in (0, 1):
        sentinel = command.ready().sentinel()

        os.kill(command.workers()[index], signal.SIGKILL)

        eventually(lambda: command.sentinel() not in (0, sentinel), details=command.output)  # noqa: B023
    task = enqueue_walk(notes)
    eventually(lambda: finished(task), details=command.output)
    assert command.stop() == 0, command.output()


@pytest.mark.slow
def test_an_idle_worker_ignores_sigterm(start, notes):
    command = start()
    worker = command.workers()[0]

    os.kill(worker, signal.SIGTERM)

    task = enqueue_walk(notes)
    eventually(lambda: finished(task), details=command.output)
    assert worker in command.workers()


@pytest.mark.slow
def test_the_pool_works_after_the_monitor_is_killed(start, notes):
    command = start()
    sentinel = command.sentinel()
    monitor, _ = command.monitor_and_notifier()

    os.kill(monitor, signal.SIGKILL)

    eventually(lambda: command.sentinel() not in (0, sentinel), details=command.output)
    task = enqueue_walk(notes)
    eventually(lambda: finished(task), details=command.output)


def test_a_killed_notifier_is_replaced(start, notes):
    command = start()
    _, notifier = command.monitor_and_notifier()

    os.kill(notifier, signal.SIGKILL)

    task = enqueue_walk(notes)
    eventually(lambda: finished(task), details=command.output)


def test_a_killed_sentinel_leaves_no_orphan_and_is_replaced(start, notes):
    command = start()
    sentinel = command.sentinel()
    before = command.living_processes()

    os.kill(sentinel, signal.SIGKILL)

    eventually(lambda: not (before - {command.process.pid}) & command.living_processes(), details=command.output)
    task = enqueue_walk(notes)
    eventually(lambda: finished(task), details=command.output)
    assert command.stop() == 0, command.output()


def test_a_killed_main_process_leaves_no_orphan(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.pids_that_began(2), details=command.output)
    assert len(command.living_processes()) >= 6

    command.process.kill()
    command.wait()

    eventually(lambda: not command.living_processes(), details=command.output)


def test_a_pool_with_hanging_workers_is_restarted(start, notes):
    command = start(stuck_pool_timeout=2)
    sentinel = command.sentinel()
    for worker in command.workers():
        os.kill(worker, signal.SIGSTOP)

    task = enqueue_walk(notes)

    eventually(lambda: command.sentinel() not in (0, sentinel), details=command.output)
    eventually(lambda: finished(task), details=command.output)
    assert "idle workers do not claim them" in command.output()


@pytest.mark.slow
def test_a_busy_pool_is_not_restarted(start, notes):
    command = start(processes=1, stuck_pool_timeout=1)
    sentinel = command.sentinel()
    long_one, waiting_one = enqueue_walk(notes, wait_in=1), enqueue_walk(notes)
    eventually(lambda: notes.pids_that_began(1), details=command.output)

    never(lambda: command.sentinel() != sentinel, during=2.5)

    notes.release_steps()
    eventually(lambda: finished(long_one) and finished(waiting_one), details=command.output)


def test_killed_workers_lose_no_parallel_step_and_exceed_no_limit(start):
    command, number, active = start(), 400, []
    task = squares_four_at_a_time.enqueue(number)
    branches = Task.objects.filter(parent=task).exclude(status="waiting", due_at=None)

    def have_ended(share: float) -> bool:
        active.append(branches.count())
        return Step.objects.filter(task=task, status="succeeded").count() >= share * number

    for share in (0.2, 0.4, 0.6, 0.8):
        eventually(lambda: have_ended(share), details=command.output)  # noqa: B023
        command.kill_a_worker()
    eventually(lambda: finished(task), details=command.output)

    task.refresh_from_db()
    assert task.result == sum(each * each for each in range(number))
    assert max(active) <= 4
    assert not Task.objects.filter(parent=task).exists()
