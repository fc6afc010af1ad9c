"""The threads of worker processes: several tasks at once, with all that is promised to one."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from taskqueue import enqueue_many
from taskqueue.engine.actions import drain
from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Attempt, Task, Worker
from taskqueue.pool import startup
from taskqueue.pool.shared_memory import Bell, Flag, PoolStatus
from taskqueue.pool.threads import worker_threads
from taskqueue.pool.threads.thread_worker import ThreadWorker
from taskqueue.pool.threads.worker_threads import WorkerThreads
from taskqueue.states import TaskStatus
from tests.support.database.connections import cut_connections
from tests.support.processes.pipelines import tiny
from tests.support.processes.worker_command import all_done, running
from tests.support.waiting import eventually, never

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def nap(seconds: float) -> Task:
    return enqueue.enqueue("tests/nap", {"seconds": seconds})


def queued() -> int:
    return Task.objects.filter(status=TaskStatus.QUEUED).count()


def test_a_process_executes_as_many_tasks_at_once_as_it_has_threads(start):
    command = start(processes=2, threads=5)
    for _ in range(10):
        nap(2)

    eventually(lambda: running() == 10, details=command.output)
    assert set(Worker.objects.exclude(task_id=None).values_list("thread", flat=True)) <= set(range(5))
    eventually(all_done, details=command.output)
    assert Task.objects.values("worker").distinct().count() == 10
    assert command.stop() == 0, command.output()
    assert not Worker.objects.filter(ended_at=None).exists()


def test_a_free_thread_takes_a_task_that_comes_while_others_are_busy(start):
    command = start(processes=1, threads=2)
    long = nap(600)
    eventually(lambda: running() == 1, details=command.output)

    for _ in range(3):
        nap(0)
        eventually(lambda: running() == 1 and not queued(), details=command.output)

    assert Task.objects.get(pk=long.pk).status == "running"
    command.kill_all()


def test_killing_a_process_loses_no_task_and_counts_as_poison_for_none(start):
    command = start(processes=1, threads=5)
    for _ in range(5):
        nap(3)
    eventually(lambda: running() == 5, details=command.output)

    os.kill(command.workers()[0], signal.SIGKILL)

    eventually(all_done, details=command.output)
    lost = Attempt.objects.filter(outcome="lost")
    assert set(lost.values_list("error_type", flat=True)) == {"WorkerLostWithOthers"}
    assert lost.values("task").distinct().count() == 5
    assert "any of them may be the cause" in lost[0].error_message
    assert command.stop() == 0, command.output()


@pytest.mark.slow
def test_a_crash_is_blamed_on_its_task_alone(start):
    command = start(processes=1, threads=3)
    innocent = [nap(3), nap(3)]
    eventually(lambda: running() == 2, details=command.output)

    culprit = enqueue.enqueue("tests/crash", {})

    eventually(lambda: Task.objects.get(pk=culprit.pk).status == "failed", details=command.output)
    eventually(lambda: not Task.objects.filter(pk__in=[task.pk for task in innocent]).exclude(status="succeeded"))
    assert Task.objects.get(pk=culprit.pk).error["type"] == "Poison"
    blamed = Attempt.objects.filter(outcome="lost", error_type="WorkerLost")
    assert set(blamed.values_list("task", flat=True)) == {culprit.pk}
    assert "SIGSEGV" in blamed[0].error_message
    others = Attempt.objects.filter(outcome="lost").exclude(task=culprit.pk)
    assert set(others.values_list("error_type", flat=True)) == {"WorkerLostByOther"}
    assert command.stop() == 0, command.output()


def test_a_hard_timeout_releases_the_tasks_of_the_other_threads(start):
    command = start(processes=1, threads=3, hard_timeout_grace=0.5)
    others = [nap(6), nap(6)]
    eventually(lambda: running() == 2, details=command.output)

    stubborn = enqueue.enqueue("tests/ignore-timeout", {"how": "catch"})

    eventually(lambda: Task.objects.get(pk=stubborn.pk).status == "retrying", details=command.output)
    assert Attempt.objects.get(task=stubborn).outcome == "timed_out"
    assert not Attempt.objects.filter(task__in=others).exists(), "they were released, not lost"
    eventually(lambda: running() == 2, details=command.output)
    command.kill_all()


def test_a_soft_timeout_reaches_a_step_in_a_thread_and_leaves_the_others_alone(start):
    command = start(processes=1, threads=3)
    others = [nap(3), nap(3)]
    eventually(lambda: running() == 2, details=command.output)

    late = enqueue.enqueue("tests/too-late", {})

    eventually(lambda: Task.objects.get(pk=late.pk).status == "failed", details=command.output)
    attempt = Attempt.objects.get(task=late)
    assert (attempt.outcome, attempt.error_type) == ("timed_out", "StepTimedOut")
    assert "cleaned up" in str(attempt.logs)
    eventually(lambda: not Task.objects.filter(pk__in=[task.pk for task in others]).exclude(status="succeeded"))
    assert not Attempt.objects.filter(task__in=others).exists()
    assert command.stop() == 0, command.output()


def test_a_limit_holds_over_all_threads(start):
    command = start(processes=2, threads=5)
    for _ in range(9):
        enqueue.enqueue("tests/three-at-a-time", {"seconds": 0.3})

    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, running())
        return all_done()

    eventually(done, details=command.output)
    assert most == 3
    assert command.stop() == 0, command.output()


def test_a_drained_thread_claims_nothing_and_the_others_go_on(start):
    command = start(processes=1, threads=2)
    first = Worker.objects.get(thread=0)
    drain.drain_worker(first.pk)
    tasks = [nap(0.05) for _ in range(4)]

    eventually(all_done, details=command.output)

    assert first.pk not in Task.objects.filter(pk__in=[task.pk for task in tasks]).values_list("worker", flat=True)
    assert command.stop() == 0, command.output()


def test_stopping_waits_for_the_steps_of_all_threads(start):
    command = start(processes=1, threads=4)
    for _ in range(4):
        nap(1.5)
    eventually(lambda: running() == 4, details=command.output)

    assert command.stop() == 0, command.output()

    assert all_done()


def test_the_command_warns_when_the_server_has_too_few_connections(start):
    command = start(processes=1, threads=1)
    assert "Warning" not in command.output()
    assert command.stop() == 0

    assert "may need 2004 connections" in startup.connections_warning(100, 19)


@pytest.mark.slow
def test_no_task_is_lost_or_doubled_when_the_database_cuts_the_connections_of_all_threads(start):
    command = start(processes=1, threads=4)
    for _ in range(12):
        nap(0.5)
    eventually(lambda: running() == 4, details=command.output)

    for _ in range(3):
        cut_connections()
        eventually(lambda: running() > 0 or all_done(), details=command.output)

    eventually(all_done, details=command.output)
    assert command.stop() == 0, command.output()


@pytest.fixture
def three_threads(monkeypatch):
    """The threads of a process whose main thread executes a long task, and two further ones with tiny tasks."""
    threads = WorkerThreads()
    monkeypatch.setattr(ThreadWorker, "is_executing_longer_than", lambda worker, _seconds: worker is threads.first)
    first, second = (threads.add(ThreadWorker(number)) for number in (1, 2))
    threads.begin()
    first.wake()
    second.wake()
    return threads, first, second


def test_of_threads_with_tiny_tasks_one_stays(three_threads):
    threads, first, second = three_threads

    assert not threads.needs(first)
    assert threads.needs(second)
    threads.end(first)
    assert first.is_free
    assert threads.needs(second)


def test_the_last_thread_claims_once_more_for_those_that_left(three_threads):
    threads, first, second = three_threads
    assert not threads.needs(first)
    threads.end(first)
    assert first.is_free

    threads.end(second)
    assert [first.is_busy, second.is_busy].count(True) == 1
    threads.end(first if first.is_busy else second)
    assert not first.is_busy
    assert not second.is_busy


def test_a_thread_that_leaves_last_has_one_claim(three_threads):
    threads, first, second = three_threads
    assert not threads.needs(first)

    threads.end(second)  # it has found nothing: the first one still had the only slot
    assert second.is_free
    threads.end(first)

    assert [first.is_busy, second.is_busy].count(True) == 1
    assert threads.needs(first if first.is_busy else second)


def test_a_draining_thread_is_not_left_tasks(three_threads, monkeypatch):
    threads, first, second = three_threads
    assert not threads.needs(first)
    monkeypatch.setattr(ThreadWorker, "is_draining", property(lambda worker: worker is second.worker))

    threads.end(first)
    assert first.is_busy
    threads.end(second)
    assert not second.is_busy


def test_the_main_thread_claims_for_those_that_left(monkeypatch):
    threads = WorkerThreads()
    extra = threads.add(ThreadWorker(1))
    claims: list[bool] = []

    def run_until_idle(_worker: ThreadWorker) -> bool:
        claims.append(extra.is_busy)
        if len(claims) == 1:
            extra.wake()
            assert not threads.needs(extra), "the main thread claims"
            threading.Timer(0.1, threads.end, [extra]).start()
        return True

    monkeypatch.setattr(ThreadWorker, "run_until_idle", run_until_idle)

    threads.run_until_idle()

    assert claims == [False, False]


def test_a_ring_during_a_stop_is_taken_once(monkeypatch):
    status, stop = PoolStatus(1, threads=2), Flag()
    rings: list[Bell] = []
    ring = Bell.ring

    def note(bell: Bell) -> None:
        rings.append(bell)
        ring(bell)

    monkeypatch.setattr(Bell, "ring", note)
    monkeypatch.setattr(worker_threads, "STOP", stop)
    threads = WorkerThreads()
    threads.watch(status, 0)
    threads.begin()
    stop.set()

    status.bell(0).ring()

    never(lambda: len(rings) > 1, during=1)
    assert not status.bell(0).take()


def test_threads_execute_all_tiny_tasks_while_one_executes_a_long_task(start):
    command = start(processes=1, threads=4)
    long = nap(600)
    eventually(lambda: running() == 1, details=command.output)

    enqueue_many([tiny.defer(number) for number in range(400)])

    eventually(lambda: Task.objects.filter(status="succeeded").count() == 400, details=command.output)
    assert Task.objects.get(pk=long.pk).status == "running"
    command.kill_all()
