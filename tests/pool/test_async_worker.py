"""The async worker of each worker process: many tasks at once on one event loop, with all that is promised to one."""

from __future__ import annotations

import os
import signal

import pytest
from django.db import connection

from taskqueue.engine.actions import drain
from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, StepReport, Task, Worker
from taskqueue.states import TaskStatus
from tests.support.database.connections import cut_connections
from tests.support.processes.worker_command import all_done, running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def nap(seconds: float) -> Task:
    return enqueue.enqueue("tests/nap-async", {"seconds": seconds})


def step_of(task: Task) -> str | None:
    return status_of(task.pk).current_step


def connections_of_workers() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT application_name, query FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'taskqueue w%'"
        )
        return cursor.fetchall()


def test_a_process_executes_as_many_async_tasks_at_once_as_it_has_slots(start):
    command = start(processes=1, threads=1, async_slots=50)
    for _ in range(60):
        nap(3)

    eventually(lambda: running() == 50, details=command.output)
    assert len(connections_of_workers()) <= 5, "of the main thread, the heartbeats, and three for the engine"
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


def test_plain_steps_and_the_orm_work_on_few_connections(start, marks):
    command = start(processes=1, threads=2, async_slots=30)
    for number in range(30):
        enqueue.enqueue("tests/async-marks", {"name": f"{number:02}"})

    eventually(all_done, details=command.output)

    assert marks() == sorted(f"{number:02} {part}" for number in range(30) for part in ("first", "last"))
    assert not Attempt.objects.exists()
    assert len(connections_of_workers()) <= 8, "two threads, heartbeats, the engine's three, plain code's two"
    assert command.stop() == 0, command.output()


def test_a_step_that_ignores_its_timeout_ends_the_process_and_releases_the_other_tasks(start):
    command = start(processes=1, threads=1, async_slots=5, hard_timeout_grace=0.5)
    others = [nap(6), nap(6)]
    eventually(lambda: running() == 2, details=command.output)

    stubborn = enqueue.enqueue("tests/block-the-loop", {})

    eventually(lambda: Task.objects.get(pk=stubborn.pk).status == "retrying", details=command.output)
    attempt = Attempt.objects.get(task=stubborn)
    assert (attempt.step_key, attempt.outcome) == ("block-the-loop", "timed_out")
    assert "time.sleep(WAIT_TIMEOUT)" in attempt.traceback
    assert not Attempt.objects.filter(task__in=others).exists(), "they were released, not lost"
    eventually(lambda: running() == 2, details=command.output)
    assert "block-the-loop" in command.output()
    command.kill_all()


def test_a_blocked_event_loop_is_named_and_costs_no_other_task_its_process(start):
    command = start(processes=1, threads=1, async_slots=5, hard_timeout_grace=0.5)
    pid = command.workers()[0]
    innocent = enqueue.enqueue("tests/patient", {})
    eventually(lambda: running() == 1, details=command.output)

    task = enqueue.enqueue("tests/block-for", {"seconds": 5})

    error = eventually(lambda: Worker.objects.get(slots=5).claim_error, details=command.output)
    assert f"by step 'block-for' of task {task.pk}" in error
    eventually(all_done, details=command.output)
    assert command.workers() == [pid]
    assert Task.objects.get(pk=innocent.pk).status == "succeeded"
    eventually(lambda: not Worker.objects.get(slots=5).claim_error, details=command.output)
    assert command.stop() == 0, command.output()


def test_a_cancelled_task_gives_its_slot_back_and_the_others_go_on(start):
    command = start(processes=1, threads=1, async_slots=3)
    cancelled, other = enqueue.enqueue("tests/until-cancelled", {}), nap(3)
    eventually(lambda: running() == 2, details=command.output)

    control.cancel(cancelled.pk)

    eventually(lambda: Task.objects.get(pk=other.pk).status == "succeeded", details=command.output)
    eventually(lambda: Worker.objects.get(slots=3).executing == 0, details=command.output)
    assert Task.objects.get(pk=cancelled.pk).status == "cancelled"
    assert command.stop() == 0, command.output()


def test_each_running_task_shows_its_step_and_its_stack(start):
    command = start(processes=1, threads=1, async_slots=3)
    tasks = [nap(600), nap(600)]

    eventually(lambda: {step_of(task) for task in tasks} == {"nap-async"}, details=command.output)
    eventually(lambda: StepReport.objects.filter(pk__in=[task.pk for task in tasks]).count() == 2)
    for report in StepReport.objects.all():
        assert "await asyncio.sleep(seconds)" in report.stack
        assert "taskqueue/engine" not in report.stack
    command.kill_all()


def test_a_stopping_worker_lets_steps_end_and_releases_the_rest(start):
    command = start(processes=1, threads=1, async_slots=10)
    tasks = [enqueue.enqueue("tests/two-naps", {"seconds": 2}) for _ in range(10)]
    eventually(lambda: running() == 10, details=command.output)

    assert command.stop() == 0, command.output()

    assert {Task.objects.get(pk=task.pk).status for task in tasks} == {"queued"}
    assert not Attempt.objects.exists()
    start(processes=1, threads=1, async_slots=10)
    eventually(all_done)


def test_a_lost_connection_costs_the_tasks_a_lost_attempt_at_most(start):
    command = start(processes=1, threads=1, async_slots=10)
    for _ in range(40):
        enqueue.enqueue("tests/two-naps", {"seconds": 0.5})
    eventually(lambda: running() == 10, details=command.output)

    cut_connections()

    eventually(all_done, details=command.output)
    assert set(Attempt.objects.values_list("outcome", flat=True)) <= {"lost"}
    assert command.stop() == 0, command.output()


def test_a_draining_event_loop_takes_no_more_tasks(start):
    command = start(processes=1, threads=1, async_slots=2)
    nap(3)
    eventually(lambda: running() == 1, details=command.output)

    drain.drain_worker(Worker.objects.get(slots=2).pk)
    late = nap(0)

    eventually(lambda: running() == 0, details=command.output)
    assert Task.objects.get(pk=late.pk).status == "queued"
    assert command.stop() == 0, command.output()


def test_a_child_that_async_code_forks_runs_nothing_of_the_other_tasks(start):
    command = start(processes=1, threads=1, async_slots=5)
    nap(2)
    eventually(lambda: running() == 1, details=command.output)

    forking = enqueue.enqueue("tests/fork-async", {})

    eventually(all_done, details=command.output)
    assert Task.objects.get(pk=forking.pk).result is True
    assert not Attempt.objects.exists()
    assert command.stop() == 0, command.output()
