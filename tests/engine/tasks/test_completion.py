"""The completion of a parallel step or child is handled exactly once, also after crashes and in races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from taskqueue import Retry, StepFailed, TaskEnded, each, pipeline, sleep, step
from taskqueue.engine import sql
from taskqueue.engine.maintenance.sweeps import run_sweeps
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.tasks import completion, control
from taskqueue.engine.worker import settle
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.outcome_statements import statement_for
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.races import OpenTransaction, wait_for_blocked_session
from tests.support.leases import take
from tests.support.moves import arranging

pytestmark = pytest.mark.django_db(transaction=True)


@step(retry=Retry.never())
def same(number: int) -> int:
    return number


@pipeline("completion/two")
def two() -> list[int]:
    return each(same, [1, 2])


@pipeline("completion/three")
def three() -> list[int]:
    return each(same, [1, 2, 3], limit=2)


@pipeline("completion/child")
def child() -> int:
    sleep("nap", timedelta(minutes=10))
    return 1


@pipeline("completion/parent")
def parent() -> str:
    try:
        return str(child.using(timeout=timedelta(minutes=10))())
    except StepFailed as failed:
        return failed.error_type


@pipeline("completion/handled")
def handled() -> None:
    sleep("nap", timedelta(days=1))


@handled.on_cancel
def report(ended: TaskEnded) -> str:
    return ended.reason


def suspended(pipeline):
    """A task whose parallel steps are queued."""
    task = pipeline.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
    return task


def in_thread(operation):
    """Run it in a thread with its own connection, where it waits for a lock."""

    def run():
        try:
            return operation()
        finally:
            connection.close()

    return ThreadPoolExecutor(1).submit(run)


def without_completion(monkeypatch):
    """Let workers end parallel steps without their completion, as a recovery that gives up a poisonous one does."""

    def end_only(lease, outcome, claim_request):
        statement, values = statement_for(outcome)
        sql.fetch(sql.standalone(statement), {**values, **lease.fence})
        return claim(claim_request) if claim_request is not None else []

    monkeypatch.setattr(settle, "settle_parallel_step", end_only)


def result_of(task):
    work()
    return Task.objects.get(pk=task.pk).result


def test_a_sweep_handles_the_completions_that_are_pending(monkeypatch):
    task = suspended(two)
    with monkeypatch.context() as dying:
        without_completion(dying)
        dying.setattr("taskqueue.engine.maintenance.dispatch.run_sweeps", lambda: 0)
        work()
    assert Task.objects.filter(parent=task, status="succeeded").count() == 2
    assert Task.objects.get(pk=task.pk).status == "waiting"

    assert run_sweeps() == 2

    assert not Task.objects.filter(parent=task).exists()
    assert result_of(task) == [1, 2]


def test_two_last_parallel_steps_complete_concurrently(monkeypatch):
    task = suspended(two)
    with monkeypatch.context() as dying:
        without_completion(dying)
        dying.setattr("taskqueue.engine.maintenance.dispatch.run_sweeps", lambda: 0)
        work()
    first, second = Task.objects.filter(parent=task).order_by("pk").values_list("pk", flat=True)

    holder = OpenTransaction(lambda: completion.notify_completion(first))
    other = in_thread(lambda: completion.notify_completion(second))
    wait_for_blocked_session()
    assert Task.objects.get(pk=task.pk).status == "waiting"
    holder.end()

    assert other.result(timeout=90) is True
    assert Task.objects.get(pk=task.pk).status == "queued"
    assert result_of(task) == [1, 2]


def test_a_completion_is_handled_once_by_concurrent_callers():
    task = handled.enqueue()
    work()
    with transaction.atomic():
        control.cancel(task.pk, reason="Why not.")
        connection.run_on_commit.clear()

    holder = OpenTransaction(lambda: completion.notify_completion(task.pk))
    assert run_sweeps() == 0
    other = in_thread(lambda: completion.notify_completion(task.pk))
    wait_for_blocked_session()
    holder.end()

    assert other.result(timeout=90) is False
    assert Task.objects.filter(pipeline="completion/handled.on-cancel").count() == 1


def test_a_cancel_races_the_end_of_a_parallel_step(monkeypatch):
    task = suspended(two)
    with monkeypatch.context() as dying:
        without_completion(dying)
        dying.setattr("taskqueue.engine.maintenance.dispatch.run_sweeps", lambda: 0)
        work()
    parallel_step = Task.objects.filter(parent=task).values_list("pk", flat=True)[0]

    holder = OpenTransaction(lambda: control.cancel(task.pk))
    other = in_thread(lambda: completion.notify_completion(parallel_step))
    wait_for_blocked_session()
    holder.end()
    other.result(timeout=90)
    run_sweeps()

    assert Task.objects.get(pk=task.pk).status == "cancelled"
    assert not Task.objects.filter(parent=task).exists()


def test_the_end_of_a_child_races_its_timeout():
    task = parent.enqueue()
    work()
    advance(minutes=11)
    (child_task,) = Task.objects.filter(parent=task)
    with arranging():
        Task.objects.filter(pk=child_task.pk).update(
            status="succeeded", due_at=None, finished_at=child_task.created_at, result=7
        )

    holder = OpenTransaction(lambda: completion.notify_completion(child_task.pk))
    other = in_thread(work)
    until_waiting_or_done(other)
    holder.end()
    other.result(timeout=90)

    assert result_of(task) in ("7", "TimedOut")
    assert Step.objects.get(task=task).status in ("succeeded", "failed")


def until_waiting_or_done(future):
    while not future.done():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE NOT granted AND datname = current_database()"
            )
            if cursor.fetchone()[0]:
                return


def test_ten_thousand_parallel_steps_cost_a_few_statements(django_assert_max_num_queries):
    @pipeline("completion/many")
    def many() -> int:
        return len(each(same, list(range(2000)), limit=10))

    task = many.enqueue()
    with InProcessWorker() as worker, django_assert_max_num_queries(20):
        worker.work(budget=timedelta(0))

    assert Task.objects.filter(parent=task, status="queued").count() == 10
    assert Task.objects.filter(parent=task, status="waiting").count() == 1990
    control.cancel(task.pk)
    assert not Task.objects.filter(parent=task).exists()


def test_a_worker_that_claims_nothing_notifies_of_the_parallel_step_that_it_queued():
    suspended(three)
    with InProcessWorker() as worker:
        lease = take(worker.row.pk)

        with CaptureQueriesContext(connection) as queries:
            settle.settle(lease, Succeeded("1"), claim_request=None)

    assert lease.parallel_step
    assert list(Task.objects.exclude(parallel_step="").values_list("status", flat=True)) == ["queued"] * 2
    assert any("pg_notify" in query["sql"] for query in queries)
