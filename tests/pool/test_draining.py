"""Draining a real worker process: it ends its task, takes nothing new, and is back when it is released."""

from __future__ import annotations

import pytest

from taskqueue.engine.actions import drain
from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Task, Worker
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def worker_of(pid: int) -> Worker:
    return Worker.objects.get(pid=pid, ended_at=None)


def naps(number: int) -> list[Task]:
    return [enqueue.enqueue("tests/nap", {"seconds": 0}) for _ in range(number)]


def all_finished(tasks: list[Task]) -> bool:
    return all(map(finished, tasks))


def test_a_draining_process_ends_its_task_and_leaves_the_rest_to_another(start, notes):
    command = start(processes=2)
    walk = enqueue_walk(notes, wait_in=3)
    eventually(lambda: notes.begun(3), otherwise=command.said)
    worker = worker_of(notes.begun(3)[0])

    drain.drain_worker(worker.pk)
    others = naps(20)
    eventually(lambda: all_finished(others), otherwise=command.said)
    notes.open_gate()
    eventually(lambda: finished(walk), otherwise=command.said)

    assert set(notes.begun(5)) == {worker.pid}
    assert {task.worker_id for task in others} == {worker_of(pid).pk for pid in command.workers()} - {worker.pk}


def test_tasks_wait_while_all_drain_and_run_after_a_release(start):
    command = start(processes=1)
    (pid,) = command.workers()
    worker = worker_of(pid)
    drain.drain_worker(worker.pk)
    task, first_look = naps(1)[0], worker.heartbeat_at
    # It beats every five seconds: it has had all the time to take the task that it was rung for.
    eventually(lambda: worker_of(pid).heartbeat_at > first_look, otherwise=command.said)
    task.refresh_from_db()
    assert task.status == "queued"

    drain.resume_worker(worker.pk)
    eventually(lambda: finished(task), otherwise=command.said)
