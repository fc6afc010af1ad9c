"""Cancellation: a task ends with its children and parallel steps, and deadlines do that too."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import each, gather, pipeline, sleep, step, wait_for
from taskqueue.engine.maintenance.sweeps import run_sweeps
from taskqueue.engine.tasks import control
from taskqueue.models import Task, Wait
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.endings import finish, reload

pytestmark = pytest.mark.django_db


@step
def same(number: int) -> int:
    return number


def test_children_and_parallel_steps_end_with_their_parent():
    @pipeline("cancelling/leaf")
    def leaf() -> None:
        wait_for("never/comes", timeout=timedelta(days=1))

    @pipeline("cancelling/middle")
    def middle() -> None:
        leaf()

    @pipeline("cancelling/root")
    def root() -> None:
        gather(middle.defer(), same.defer(1))

    task = root.enqueue()
    work()
    assert Task.objects.count() == 3
    control.cancel(task.pk, reason="Enough.")

    ended = dict(Task.objects.values_list("pipeline", "status"))
    assert set(ended.values()) == {"cancelled"}
    assert reload(task).cancel_reason == "Enough."
    assert Task.objects.get(pipeline="cancelling/leaf").cancel_reason == "Its parent was cancelled."
    assert Wait.objects.get().outcome == "closed"


def test_cancelled_parallel_steps_leave_no_rows():
    @pipeline("cancelling/parallel")
    def parallel() -> list[int]:
        return each(same, [1, 2, 3], limit=1)

    task = parallel.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
    control.cancel(task.pk)

    assert list(Task.objects.values_list("pk", flat=True)) == [task.pk]
    control.retry(task.pk)
    assert finish(task).result == [1, 2, 3]


def test_a_retry_creates_cancelled_children_again():
    @pipeline("cancelling/child")
    def child() -> int:
        sleep("nap", timedelta(hours=1))
        return 1

    @pipeline("cancelling/parent")
    def parent() -> int:
        return child()

    task = parent.enqueue()
    work()
    control.cancel(task.pk)
    control.retry(task.pk)

    assert finish(task).result == 1
    assert sorted(Task.objects.filter(parent=task).values_list("status", flat=True)) == ["cancelled", "succeeded"]


def test_a_task_that_does_not_start_in_time_is_cancelled():
    @pipeline("cancelling/starts", start_within=timedelta(minutes=5))
    def starts() -> None:
        pass

    task = starts.enqueue()
    advance(minutes=6)
    run_sweeps()
    task = reload(task)
    assert (task.status, task.cancel_reason) == ("cancelled", "It did not start within 0:05:00.")


def test_a_task_that_does_not_end_in_time_is_cancelled():
    @pipeline("cancelling/ends", finish_within=timedelta(minutes=5))
    def ends() -> None:
        sleep("nap", timedelta(hours=1))

    task = ends.enqueue()
    work()
    advance(minutes=6)
    work()
    task = reload(task)
    assert (task.status, task.cancel_reason) == ("cancelled", "It did not end within 0:05:00.")
