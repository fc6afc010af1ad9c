"""The async worker of each worker process: many tasks at once on one event loop, with all that is promised to one."""

from __future__ import annotations

import os
import signal

import pytest
from django.db import connection

from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Attempt, Task, Worker
from taskqueue.states import TaskStatus
from tests.support.processes.worker_command import all_done
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def nap(seconds: float) -> Task:
    return enqueue.enqueue("tests/nap-async", {"seconds": seconds})


def running() -> int:
    return Task.objects.filter(status=TaskStatus.RUNNING).count()


def connections_of_workers() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'taskqueue worker%'")
        ((count,),) = cursor.fetchall()
    return int(count)


def test_a_process_executes_as_many_async_tasks_at_once_as_it_has_slots(start):
    command = start(processes=1, threads=1, async_slots=50)
    for _ in range(60):
        nap(3)

    eventually(lambda: running() == 50, details=command.output)
    assert connections_of_workers() <= 3, "of the main thread, and one each for heartbeats and the engine's statements"
    eventually(lambda: Worker.objects.get(slots=50).executing == 50)
    eventually(all_done, details=command.output)
    assert not Attempt.objects.exists()
    assert command.stop() == 0, command.output()
    assert not Worker.objects.filter(ended_at=None).exists()


def test_plain_tasks_take_threads_while_async_ones_take_slots(start):
    command = start(processes=1, threads=2, async_slots=2)
    for _ in range(3):
        nap(600)
        enqueue.enqueue("tests/nap", {"seconds": 600})

    eventually(lambda: running() == 4, details=command.output)

    rows = Task.objects.filter(status=TaskStatus.RUNNING).values_list("pipeline", "worker__slots")
    assert sorted(rows) == [("tests/nap", 1), ("tests/nap", 1), ("tests/nap-async", 2), ("tests/nap-async", 2)]
    command.kill_all()


def test_killing_a_process_loses_no_task_and_counts_as_poison_for_none(start):
    command = start(processes=1, threads=1, async_slots=20)
    for _ in range(20):
        nap(3)
    eventually(lambda: running() == 20, details=command.output)

    os.kill(command.workers()[0], signal.SIGKILL)

    eventually(all_done, details=command.output)
    assert set(Attempt.objects.filter(outcome="lost").values_list("error_type", flat=True)) == {"WorkerLostWithOthers"}
    assert command.stop() == 0, command.output()
