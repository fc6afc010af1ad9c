"""Concurrent operations on one task or worker, each on its own connection."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction

from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import DatabaseLost, Release, Succeeded
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.errors import NotCancellable, NotRetryable
from taskqueue.models import Attempt, IdempotencyKey, Step, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.races import OpenTransaction, run_concurrently, run_until_blocked
from tests.support.leases import take
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import calls, one_step, three_steps

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_hundred_callers_with_one_key_make_one_task():
    results = [
        result for _ in range(10) for result in run_concurrently(20, lambda: one_step.using(key="order-1").enqueue(1))
    ]

    assert len(results) == 200
    assert len({task.pk for task in results}) == 1
    assert sum(not task.duplicate for task in results) == 1
    assert Task.objects.count() == IdempotencyKey.objects.count() == 1


def test_callers_with_one_key_wait_and_one_replaces_a_rolled_back_first():
    first = OpenTransaction(lambda: one_step.using(key="order-1").enqueue(1))
    second = run_until_blocked(lambda: one_step.using(key="order-1").enqueue(2))
    first.roll_back()
    task = second.result(timeout=90)

    assert not task.duplicate
    assert Task.objects.get().payload == {"number": 2}


def test_no_task_is_claimed_twice():
    workers = [InProcessWorker() for _ in range(8)]
    for number in range(40):
        one_step.enqueue(number)
    turns = iter(workers)
    lock = threading.Lock()

    def claim_all():
        with lock:
            worker = next(turns)
        leases = []
        while claimed := claim(ClaimRequest(worker.row.pk, most=3)):
            leases += claimed
        return leases

    claimed = [lease.task for leases in run_concurrently(8, claim_all) for lease in leases]

    assert len(claimed) == len(set(claimed)) == 40
    for worker in workers:
        worker.leave()


@pytest.mark.parametrize("_repetition", range(5))
def test_a_concurrent_cancel_and_finish_leave_one_outcome(_repetition):
    with InProcessWorker() as worker:
        task = one_step.enqueue(1)
        lease = take(worker.row.pk)
        deeds = [lambda: settle(lease, Succeeded("1"), claim_request=None), lambda: control.cancel(task.pk)]

        results = run_concurrently(2, lambda: deeds.pop()())

    task = Task.objects.get()
    refused = [result for result in results if isinstance(result, NotCancellable)]
    assert task.status == ("succeeded" if refused else "cancelled")
    assert task.result == (1 if refused else None)


def test_recovery_skips_a_task_whose_checkpoint_is_committing():
    holder = InProcessWorker()
    three_steps.enqueue(1)
    lease = take(holder.row.pk)
    holder.die()
    values: dict[str, Any] = {"key": "one", "name": "one", "arguments": "{}", "output": "2", "elapsed": timedelta(0)}
    checkpointing = OpenTransaction(lambda: Journal(lease).checkpoint(**values))
    assert recover(holder.row.pk, reason="for this test") == 0
    checkpointing.end()

    assert dispatch.run_due(5).claimable == 1
    assert Step.objects.get().output == 2


def test_one_of_many_recovers_a_dead_worker():
    dead = InProcessWorker()
    one_step.enqueue(1)
    take(dead.row.pk)
    dead.die()

    run_concurrently(8, lambda: dispatch.run_due(5))

    assert Attempt.objects.count() == 1
    assert Task.objects.get().status == "queued"


def test_one_of_many_concurrent_retries_succeeds():
    task = one_step.enqueue(1)
    control.cancel(task.pk)

    results = run_concurrently(8, lambda: control.retry(task.pk))

    assert sum(isinstance(result, Task) for result in results) == 1
    assert sum(isinstance(result, NotRetryable) for result in results) == 7
    assert len(work()) == 1


def test_releasing_a_task_of_another_worker_changes_nothing():
    first, second = InProcessWorker(), InProcessWorker()
    one_step.enqueue(1)
    lost = take(first.row.pk)
    first.die()
    dispatch.run_due(5)
    take(second.row.pk)

    settle(lost, Release(), claim_request=None)

    assert Task.objects.get().worker_id == second.row.pk
    assert Task.objects.get().status == "running"
    second.leave()


def test_recovery_skips_a_locked_task_and_returns_to_it():
    dead = InProcessWorker()
    locked, free = one_step.enqueue(1), one_step.enqueue(2)
    claim(ClaimRequest(dead.row.pk, most=2))
    dead.die()
    lock = OpenTransaction(lambda: Task.objects.select_for_update().get(pk=locked.pk))

    dispatch.run_due(5)

    assert Task.objects.get(pk=free.pk).status == "queued"
    assert Task.objects.get(pk=locked.pk).status == "running"
    lock.end()

    dispatch.run_due(5)

    assert Task.objects.get(pk=locked.pk).status == "queued"


def test_a_step_with_an_unacknowledged_commit_is_not_failed(monkeypatch):
    task = pipelines.atomic_pipeline.enqueue("staff")
    commit = connection.commit

    def commit_without_an_answer():
        monkeypatch.undo()
        commit()
        raise OperationalError("no answer")

    monkeypatch.setattr(connection, "commit", commit_without_an_answer)

    try:
        work()
    except DatabaseLost:
        dispatch.run_due(5)
    work()

    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert Group.objects.count() == 1
    assert calls.count("create_group") == 1
    assert not Attempt.objects.exclude(outcome="lost").exists()


def test_an_on_commit_error_keeps_the_step_succeeded(monkeypatch):
    def fail():
        calls.append("hook")
        raise OperationalError("the mail server's database is away")

    task = pipelines.atomic_pipeline.enqueue("staff")
    original = pipelines.note

    def note(name):
        original(name)
        transaction.on_commit(fail)

    monkeypatch.setattr(pipelines, "note", note)

    work()

    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert (calls.count("create_group"), calls.count("hook")) == (1, 2)  # two hooks, each once
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["failed"] * 2
