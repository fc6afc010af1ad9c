"""Durability, with real deaths: nothing that was recorded happens again, and nothing is lost."""

import os
import signal
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.db.models.functions import Now

from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Worker
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

EACH_ONCE = {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
THIRD_TWICE = {**EACH_ONCE, 3: 2}


def test_a_worker_killed_in_step_three_costs_that_step_alone(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=3)
    eventually(lambda: notes.begun(3), otherwise=command.said)

    os.kill(notes.begun(3)[0], signal.SIGKILL)
    notes.open_gate()

    eventually(lambda: finished(task), otherwise=command.said)
    assert notes.count("begin") == THIRD_TWICE
    assert notes.count("end") == EACH_ONCE
    assert [attempt.outcome for attempt in task.attempts.all()] == ["lost"]


def test_a_worker_killed_at_work_does_not_disturb_its_neighbour(start, notes):
    command = start()
    sentinel = command.sentinel()
    tasks = [enqueue_walk(notes, wait_in=3), enqueue_walk(notes, wait_in=3)]
    eventually(lambda: len(notes.begun(3)) == 2, otherwise=command.said)
    victim, neighbour = notes.begun(3)

    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(notes.begun(3)) == 3, otherwise=command.said)
    notes.open_gate()

    eventually(lambda: all(finished(task) for task in tasks), otherwise=command.said)
    assert command.sentinel() == sentinel
    assert neighbour in [int(words[2]) for words in notes.lines() if words[:2] == ["end", "3"]]


def test_a_stopped_worker_that_goes_on_after_its_task_was_finished_elsewhere_writes_nothing(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=3)
    eventually(lambda: notes.begun(3), otherwise=command.said)
    sleeper = notes.begun(3)[0]
    os.kill(sleeper, signal.SIGSTOP)
    Worker.objects.filter(pid=sleeper).update(heartbeat_at=Now() - timedelta(minutes=1))
    notes.open_gate()
    eventually(lambda: finished(task), otherwise=command.said)
    steps = list(task.steps.order_by("id").values())

    os.kill(sleeper, signal.SIGCONT)

    eventually(lambda: notes.count("end")[3] == 2, otherwise=command.said)
    another = enqueue_walk(notes)
    eventually(lambda: finished(another), otherwise=command.said)
    assert command.stop() == 0, command.said()
    assert finished(task)
    assert list(task.steps.order_by("id").values()) == steps
    assert notes.count("begin")[4] == 2, "once for each of the two tasks"


def test_a_stopped_worker_in_an_atomic_step_leaves_no_second_effect(start, notes, marks):
    command = start()
    task = enqueue.enqueue("tests/mark-slowly", {"notes": str(notes.path), "wait_in": 1})
    eventually(lambda: notes.begun(1), otherwise=command.said)
    sleeper = notes.begun(1)[0]
    os.kill(sleeper, signal.SIGSTOP)
    Worker.objects.filter(pid=sleeper).update(heartbeat_at=Now() - timedelta(minutes=1))
    notes.open_gate()
    eventually(lambda: finished(task), otherwise=command.said)
    steps = list(task.steps.order_by("id").values())

    os.kill(sleeper, signal.SIGCONT)

    eventually(lambda: notes.count("end")[1] == 2, otherwise=command.said)
    eventually(lambda: Worker.objects.filter(ended_at=None, pid=sleeper).exists(), otherwise=command.said)
    assert command.stop() == 0, command.said()
    assert marks() == ["slowly"]
    assert list(task.steps.order_by("id").values()) == steps
    assert [attempt.outcome for attempt in task.attempts.all()] == ["lost"]
    assert not command.family()


def test_a_whole_command_is_killed_and_another_loses_nothing(start, notes):
    command = start()
    tasks = [enqueue_walk(notes, wait_in=3) for _ in range(6)]
    eventually(lambda: len(notes.begun(3)) == 2, otherwise=command.said)
    command.kill_all()
    notes.open_gate()

    successor = start()

    eventually(lambda: all(finished(task) for task in tasks), otherwise=successor.said)
    assert notes.count("begin") == {1: 6, 2: 6, 3: 8, 4: 6, 5: 6}


def test_workers_that_have_answered_often_enough_are_replaced(start, notes):
    command = start(recycle=1)
    sentinel = command.sentinel()

    for _ in range(2):
        task = enqueue_walk(notes)
        eventually(lambda: finished(task), otherwise=command.said)  # noqa: B023

    eventually(Worker.objects.filter(end_reason="recycled").exists, otherwise=command.said)
    assert command.sentinel() == sentinel
    assert command.stop() == 0, command.said()


def test_every_connection_is_cut_and_work_goes_on(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=3)
    eventually(lambda: notes.begun(3), otherwise=command.said)

    cut_connections()
    notes.open_gate()
    another = enqueue_walk(notes)

    eventually(lambda: finished(task) and finished(another), otherwise=command.said)
    assert command.said().count("The database does not answer") <= 3
    assert command.stop() == 0, command.said()


def cut_connections() -> None:
    """What a restart of the server does to its clients."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connections.close_all()
