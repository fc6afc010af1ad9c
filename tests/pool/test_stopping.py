"""Stopping: a running step may end, the rest is handed back at once, and nothing hangs."""

import os
import signal
import time

import pytest

from taskqueue.models import Worker
from taskqueue.states import TaskStatus
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def test_an_idle_command_stops_at_once_and_its_workers_say_goodbye(start):
    command = start()

    code = command.stop()

    assert code == 0, command.said()
    assert not command.family()
    assert not Worker.objects.filter(ended_at=None).exists()
    assert "Worker stopped." in command.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_to_the_whole_group_lets_the_running_step_end(start, notes, number):
    command = start()
    task = enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.begun(2), otherwise=command.said)

    os.killpg(command.process.pid, number)
    notes.open_gate()

    assert command.wait() == 0, command.said()
    task.refresh_from_db()
    assert task.status == TaskStatus.QUEUED
    assert notes.count("end") == {1: 1, 2: 1}
    assert not task.attempts.exists()
    assert not command.family()


def test_a_task_handed_back_is_finished_by_the_next_command(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.begun(2), otherwise=command.said)
    command.process.terminate()
    notes.open_gate()
    assert command.wait() == 0, command.said()

    successor = start()

    eventually(lambda: finished(task), otherwise=successor.said)
    assert notes.count("begin") == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def test_a_step_that_outlasts_the_grace_is_killed(start, notes):
    command = start(grace=1)
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.begun(2), otherwise=command.said)

    assert command.stop() == 0, command.said()

    assert notes.count("end") == {1: 1}
    assert "did not end within the grace" in command.said()
    assert not command.family()


@pytest.mark.slow
def test_a_second_signal_stops_without_waiting(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.begun(2), otherwise=command.said)
    command.process.terminate()
    asked_at = time.monotonic()
    eventually(lambda: time.monotonic() - asked_at > 1.2)

    assert command.stop() == 1, command.said()

    assert not command.family()


def test_a_stop_asked_for_twice_at_once_is_one_stop(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.begun(2), otherwise=command.said)

    command.process.terminate()
    os.killpg(command.process.pid, signal.SIGINT)
    notes.open_gate()

    assert command.wait() == 0, command.said()
    assert notes.count("end") == {1: 1, 2: 1}


def test_a_worker_killed_during_the_stop_does_not_hold_it_up(start, notes):
    command = start()
    enqueue_walk(notes, wait_in=2)
    eventually(lambda: notes.begun(2), otherwise=command.said)
    command.process.terminate()

    os.kill(notes.begun(2)[0], signal.SIGKILL)

    assert command.wait() == 0, command.said()
    assert not command.family()
