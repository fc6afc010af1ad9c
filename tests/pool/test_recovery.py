"""Durability with real killed processes: no recorded step is repeated, and no task is lost."""

import os
import signal
from datetime import timedelta

import pytest
from django.db import connections
from django.db.models.functions import Now

from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.models import Worker
from tests.support.database.connections import cut_connections
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

EACH_ONCE = {1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
THIRD_TWICE = {**EACH_ONCE, 3: 2}


def test_a_worker_killed_in_step_three_repeats_only_that_step(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=3)
    eventually(lambda: notes.pids_that_began(3), details=command.output)

    os.kill(notes.pids_that_began(3)[0], signal.SIGKILL)
    notes.release_steps()

    eventually(lambda: finished(task), details=command.output)
    assert notes.count("begin") == THIRD_TWICE
    assert notes.count("end") == EACH_ONCE
    assert [attempt.outcome for attempt in task.attempts.all()] == ["lost"]


def test_a_killed_worker_does_not_disturb_another(start, notes):
    command = start()
    sentinel = command.sentinel()
    tasks = [enqueue_walk(notes, wait_in=3), enqueue_walk(notes, wait_in=3)]
    eventually(lambda: len(notes.pids_that_began(3)) == 2, details=command.output)
    victim, neighbour = notes.pids_that_began(3)

    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(notes.pids_that_began(3)) == 3, details=command.output)
    notes.release_steps()

    eventually(lambda: all(finished(task) for task in tasks), details=command.output)
    assert command.sentinel() == sentinel
    assert neighbour in [int(words[2]) for words in notes.lines() if words[:2] == ["end", "3"]]


def test_the_query_of_a_killed_worker_ends_with_its_locks(start, notes):
    command = start()
    task = enqueue("tests/long-query", {"notes": str(notes.path)})
    eventually(lambda: notes.pids_that_began(1), details=command.output)

    os.kill(notes.pids_that_began(1)[0], signal.SIGKILL)

    eventually(lambda: finished(task), details=command.output)
    assert notes.count("begin") == {1: 2}
    assert [attempt.outcome for attempt in task.attempts.all()] == ["lost"]


def stop_worker_in(task, step, command, notes):
    """Stop the worker in this step until another has finished the task; its pid, and the task's steps by then."""
    eventually(lambda: notes.pids_that_began(step), details=command.output)
    sleeper = notes.pids_that_began(step)[0]
    os.kill(sleeper, signal.SIGSTOP)
    Worker.objects.filter(pid=sleeper).update(heartbeat_at=Now() - timedelta(minutes=1))
    notes.release_steps()
    eventually(lambda: finished(task), details=command.output)
    return sleeper, list(task.steps.order_by("id").values())


def test_a_resumed_worker_writes_nothing_to_a_finished_task(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=3)
    sleeper, steps = stop_worker_in(task, 3, command, notes)

    os.kill(sleeper, signal.SIGCONT)

    eventually(lambda: notes.count("end")[3] == 2, details=command.output)
    another = enqueue_walk(notes)
    eventually(lambda: finished(another), details=command.output)
    assert command.stop() == 0, command.output()
    assert finished(task)
    assert list(task.steps.order_by("id").values()) == steps
    assert notes.count("begin")[4] == 2, "once for each of the two tasks"


def test_a_resumed_worker_in_an_atomic_step_leaves_no_second_effect(start, notes, marks):
    command = start()
    task = enqueue("tests/mark-slowly", {"notes": str(notes.path), "wait_in": 1})
    sleeper, steps = stop_worker_in(task, 1, command, notes)

    os.kill(sleeper, signal.SIGCONT)

    eventually(lambda: notes.count("end")[1] == 2, details=command.output)
    eventually(lambda: Worker.objects.filter(ended_at=None, pid=sleeper).exists(), details=command.output)
    assert command.stop() == 0, command.output()
    assert marks() == ["slowly"]
    assert list(task.steps.order_by("id").values()) == steps
    assert [attempt.outcome for attempt in task.attempts.all()] == ["lost"]
    assert not command.living_processes()


def test_another_command_recovers_a_killed_command(start, notes):
    command = start()
    tasks = [enqueue_walk(notes, wait_in=3) for _ in range(6)]
    eventually(lambda: len(notes.pids_that_began(3)) == 2, details=command.output)
    command.kill_all()
    notes.release_steps()

    successor = start()

    eventually(lambda: all(finished(task) for task in tasks), details=successor.output)
    assert notes.count("begin") == {1: 6, 2: 6, 3: 8, 4: 6, 5: 6}


def test_workers_are_recycled_after_many_messages(start, notes):
    command = start(recycle=1)
    sentinel = command.sentinel()

    for _ in range(2):
        task = enqueue_walk(notes)
        eventually(lambda: finished(task), details=command.output)  # noqa: B023

    eventually(Worker.objects.filter(end_reason="recycled").exists, details=command.output)
    assert command.sentinel() == sentinel
    assert command.stop() == 0, command.output()


def test_work_continues_after_all_connections_are_cut(start, notes):
    command = start()
    task = enqueue_walk(notes, wait_in=3)
    eventually(lambda: notes.pids_that_began(3), details=command.output)

    cut_connections()
    connections.close_all()
    notes.release_steps()
    another = enqueue_walk(notes)

    eventually(lambda: finished(task) and finished(another), details=command.output)
    assert command.output().count("The database does not answer") <= 3
    assert command.stop() == 0, command.output()
