"""The end of a branch or a child is told to its parent once, whoever dies and whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction

from taskqueue import Retry, StepFailed, TaskEnded, each, pipeline, sleep, step
from taskqueue.engine.maintenance.sweeps import run_sweeps
from taskqueue.engine.tasks import completion, control
from taskqueue.engine.worker import settle
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.races import Held, until_a_lock_is_awaited
from tests.support.moves import arranging

pytestmark = pytest.mark.django_db(transaction=True)


@step(retry=Retry.never())
def same(number: int) -> int:
    return number


@pipeline("echoes/two")
def two() -> list[int]:
    return each(same, [1, 2])


@pipeline("echoes/child")
def child() -> int:
    sleep("nap", timedelta(minutes=10))
    return 1


@pipeline("echoes/parent")
def parent() -> str:
    try:
        return str(child.using(timeout=timedelta(minutes=10))())
    except StepFailed as failed:
        return failed.error_type


@pipeline("echoes/handled")
def handled() -> None:
    sleep("nap", timedelta(days=1))


@handled.on_cancel
def report(ended: TaskEnded) -> str:
    return ended.reason


def paused(pipeline):
    """A task whose branches are made and not begun."""
    task = pipeline.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
    return task


def beside(deed):
    """Do it on another connection; it is expected to wait for a lock."""

    def on_its_own():
        try:
            return deed()
        finally:
            connection.close()

    return ThreadPoolExecutor(1).submit(on_its_own)


def settled_untold(monkeypatch):
    """Let the worker die between settling a branch and telling its end."""
    monkeypatch.setattr(settle, "notify_completion_now", lambda _task: None)


def result_of(task):
    work()
    return Task.objects.get(pk=task.pk).result


def test_a_worker_that_dies_before_it_tells_an_end_leaves_it_to_a_sweep(monkeypatch):
    task = paused(two)
    with monkeypatch.context() as dying:
        settled_untold(dying)
        dying.setattr("taskqueue.engine.maintenance.dispatch.run_sweeps", lambda: 0)
        work()
    assert Task.objects.filter(parent=task, status="succeeded").count() == 2
    assert Task.objects.get(pk=task.pk).status == "waiting"

    assert run_sweeps() == 2

    assert not Task.objects.filter(parent=task).exists()
    assert result_of(task) == [1, 2]


def test_the_last_branch_against_the_last_branch(monkeypatch):
    task = paused(two)
    with monkeypatch.context() as dying:
        settled_untold(dying)
        dying.setattr("taskqueue.engine.maintenance.dispatch.run_sweeps", lambda: 0)
        work()
    first, second = Task.objects.filter(parent=task).order_by("pk").values_list("pk", flat=True)

    holder = Held(lambda: completion.tell(first))
    other = beside(lambda: completion.tell(second))
    until_a_lock_is_awaited()
    assert Task.objects.get(pk=task.pk).status == "waiting"
    holder.end()

    assert other.result(timeout=90) is True
    assert Task.objects.get(pk=task.pk).status == "queued"
    assert result_of(task) == [1, 2]


def test_two_who_tell_the_same_end_tell_it_once():
    task = handled.enqueue()
    work()
    with transaction.atomic():
        control.cancel(task.pk, reason="Why not.")
        connection.run_on_commit.clear()

    holder = Held(lambda: completion.tell(task.pk))
    assert run_sweeps() == 0
    other = beside(lambda: completion.tell(task.pk))
    until_a_lock_is_awaited()
    holder.end()

    assert other.result(timeout=90) is False
    assert Task.objects.filter(pipeline="echoes/handled.on-cancel").count() == 1


def test_a_cancel_against_the_end_of_a_branch(monkeypatch):
    task = paused(two)
    with monkeypatch.context() as dying:
        settled_untold(dying)
        dying.setattr("taskqueue.engine.maintenance.dispatch.run_sweeps", lambda: 0)
        work()
    branch = Task.objects.filter(parent=task).values_list("pk", flat=True)[0]

    holder = Held(lambda: control.cancel(task.pk))
    other = beside(lambda: completion.tell(branch))
    until_a_lock_is_awaited()
    holder.end()
    other.result(timeout=90)
    run_sweeps()

    assert Task.objects.get(pk=task.pk).status == "cancelled"
    assert not Task.objects.filter(parent=task).exists()


def test_the_end_of_a_child_against_its_timeout():
    task = parent.enqueue()
    work()
    advance(minutes=11)
    (made,) = Task.objects.filter(parent=task)
    with arranging():
        Task.objects.filter(pk=made.pk).update(status="succeeded", due_at=None, finished_at=made.created_at, result=7)

    holder = Held(lambda: completion.tell(made.pk))
    other = beside(work)
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


def test_ten_thousand_branches_are_made_by_a_few_statements(django_assert_max_num_queries):
    @pipeline("echoes/many")
    def many() -> int:
        return len(each(same, list(range(2000)), limit=10))

    task = many.enqueue()
    with InProcessWorker() as worker, django_assert_max_num_queries(20):
        worker.work(budget=timedelta(0))

    assert Task.objects.filter(parent=task, status="queued").count() == 10
    assert Task.objects.filter(parent=task, status="waiting").count() == 1990
    control.cancel(task.pk)
    assert not Task.objects.filter(parent=task).exists()
