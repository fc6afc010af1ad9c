"""Stopping: a running step may end, other tasks are released at once, and no process hangs."""

import os
import signal
import time

import pytest

from taskqueue.models import Worker
from taskqueue.states import TaskStatus
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def test_an_idle_command_stops_at_once_and_ends_its_workers(start):
    command = start()

    code = command.stop()

    assert code == 0, command.output()
    assert not command.living_processes()
    assert not Worker.objects.filter(ended_at=None).exists()
    assert "Worker stopped." in command.output()


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.slow)],
)
def test_a_signal_to_the_whole_group_lets_the_running_step_end(start, notes, number):
    command = start()
    task = enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.pids_that_began(2), details=command.output)

    os.killpg(command.process.pid, number)
    notes.release_steps()

    assert command.wait() == 0, command.output()
    task.refresh_from_db()
    assert task.status == TaskStatus.QUEUED
    assert notes.count("end") == {1: 1, 2: 1}
    assert not task.attempts.exists()
    assert not command.living_processes()


def test_a_released_task_is_finished_by_the_next_command(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.pids_that_began(2), details=command.output)
    command.process.terminate()
    notes.release_steps()
    assert command.wait() == 0, command.output()

    successor = start()

    eventually(lambda: finished(task), details=successor.output)
    assert notes.count("begin") == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def test_a_step_longer_than_the_grace_is_killed(start, notes):
    command = start(grace=1)
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.pids_that_began(2), details=command.output)

    assert command.stop() == 0, command.output()

    assert notes.count("end") == {1: 1}
    assert "did not end within the grace" in command.output()
    assert not command.living_processes()


@pytest.mark.slow
def test_a_second_signal_stops_without_waiting(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.pids_that_began(2), details=command.output)
    command.process.terminate()
    asked_at = time.monotonic()
    eventually(lambda: time.monotonic() - asked_at > 1.2)

    assert command.stop() == 1, command.output()

    assert not command.living_processes()


@pytest.mark.slow
def test_two_signals_at_once_are_one_stop(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.pids_that_began(2), details=command.output)

    command.process.terminate()
    os.killpg(command.process.pid, signal.SIGINT)
    notes.release_steps()

    assert command.wait() == 0, command.output()
    assert notes.count("end") == {1: 1, 2: 1}


def test_a_worker_killed_during_the_stop_does_not_delay_it(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.pids_that_began(2), details=command.output)
    command.process.terminate()

    os.kill(notes.pids_that_began(2)[0], signal.SIGKILL)

    assert command.wait() == 0, command.output()
    assert not command.living_processes()
