"""A draining worker process finishes its task, claims no new one, and continues when it is released."""

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


def test_a_draining_worker_finishes_its_task_and_claims_no_other(start, notes):
    command = start(processes=2)
    walk = enqueue_walk(notes, wait_in=3)
    eventually(lambda: notes.pids_that_began(3), details=command.output)
    worker = worker_of(notes.pids_that_began(3)[0])

    drain.drain_worker(worker.pk)
    others = naps(20)
    eventually(lambda: all_finished(others), details=command.output)
    notes.release_steps()
    eventually(lambda: finished(walk), details=command.output)

    assert set(notes.pids_that_began(5)) == {worker.pid}
    assert {task.worker_id for task in others} == {worker_of(pid).pk for pid in command.workers()} - {worker.pk}


def test_tasks_wait_while_all_workers_drain(start):
    command = start(processes=1)
    (pid,) = command.workers()
    worker = worker_of(pid)
    drain.drain_worker(worker.pk)
    task, former_heartbeat = naps(1)[0], worker.heartbeat_at
    # A heartbeat every five seconds: the worker had time to claim the task that woke it.
    eventually(lambda: worker_of(pid).heartbeat_at > former_heartbeat, details=command.output)
    task.refresh_from_db()
    assert task.status == "queued"

    drain.resume_worker(worker.pk)
    eventually(lambda: finished(task), details=command.output)
