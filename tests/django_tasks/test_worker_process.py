"""`@task` functions in a real `manage.py worker`, whose processes are killed."""

from __future__ import annotations

import os
import signal

import pytest

from taskqueue.django_tasks import WorkerLost
from taskqueue.models import Worker
from tests.support.django_tasks import elsewhere, tasks
from tests.support.processes.worker_command import WorkerCommand
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


@pytest.fixture
def command(transactional_db, tmp_path):
    """A worker command whose project has the app with the tasks."""
    command = WorkerCommand(tmp_path, async_slots=5, apps="tests.support.django_tasks")
    yield command.ready()
    command.kill_all()


def finished(result):
    result.refresh()
    return result.is_finished


def test_a_task_of_a_killed_worker_runs_again(command, tmp_path):
    began = tmp_path / "began"
    result = tasks.wait_for_file.enqueue(str(tmp_path))
    eventually(began.exists, details=command.output)
    result.refresh()
    assert (result.status, result.attempts) == ("RUNNING", 1)

    os.kill(Worker.objects.get(pk=result.worker_ids[0]).pid, signal.SIGKILL)
    eventually(lambda: began.read_text().split() == ["1", "2"], details=command.output)
    (tmp_path / "released").touch()

    eventually(lambda: finished(result), details=command.output)
    assert result.return_value == "released"
    assert (result.attempts, len(set(result.worker_ids))) == (2, 2)
    assert [error.exception_class for error in result.errors] == [WorkerLost]


def test_tasks_of_every_kind_run(command):
    results = [
        tasks.add.enqueue(1),
        tasks.add_async.enqueue(2),
        tasks.mail.enqueue("hello"),
        tasks.add.using(queue_name="gpu").enqueue(3),
        elsewhere.by_path.enqueue(4),
    ]

    eventually(lambda: all(map(finished, results)), details=command.output)
    assert [result.return_value for result in results] == [2, 3, "sent hello", 4, [1, 4]]
    assert f"Task id={results[0].id} path=tests.support.django_tasks.tasks.add state=SUCCESSFUL" in command.output()
    assert command.stop() == 0, command.output()
