"""Cancelling: a task ends with all that is done for it, and its worker learns of it."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection
from taskqueue.engine.grace import Grace

from taskqueue import Retry, current_task, each, gather, pipeline, sleep, step
from taskqueue.context import current
from taskqueue.engine import control, duty
from taskqueue.engine.activity import Activity
from taskqueue.engine.execution import perform
from taskqueue.engine.settlement import settle
from taskqueue.errors import NotCancellable
from taskqueue.models import Attempt, Step, Task, Worker
from taskqueue.testing import InProcessWorker, advance, work
from tests.authoring.endings import finish, reload
from tests.engine.leases import take

pytestmark = pytest.mark.django_db


@step
def work_at(number: int) -> int:
    return number


@pipeline("cancel/leaf", cancel_grace=timedelta(seconds=30))
def leaf(number: int) -> int:
    sleep("long", timedelta(days=30))
    return number


@pipeline("cancel/middle")
def middle(number: int) -> int:
    return leaf(number) + leaf(number)


@pipeline("cancel/root", cancel_grace=timedelta(seconds=30))
def root(number: int) -> list[int]:
    gather(work_at.defer(0))
    return list(gather(middle.defer(number), leaf.defer(number)))


@pipeline("cancel/wide", cancel_grace=timedelta(seconds=30))
def wide(number: int) -> list[int]:
    return each(work_at, range(number), limit=2)


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def test_all_that_descends_from_a_cancelled_task_is_cancelled():
    task = root.enqueue(1)
    work()
    assert set(Task.objects.values_list("status", flat=True)) == {"waiting"}

    control.cancel(task.pk, reason="the customer left")
    work()

    assert Task.objects.count() == 4
    for each_task in Task.objects.all():
        reason = "the customer left" if each_task.pk == task.pk else "Its parent was cancelled: the customer left"
        assert (each_task.status, each_task.cancel_reason, each_task.kill_at) == ("cancelled", reason, None)
    assert not Step.objects.filter(status="waiting").exists()
    assert set(Step.objects.filter(task=task).values_list("key", "status")) == {
        ("work-at", "succeeded"),
        ("cancel/middle", "failed"),
        ("cancel/leaf", "failed"),
    }


def test_branches_that_nobody_began_are_gone_and_one_in_flight_keeps_its_result_out(worker):
    task = wide.enqueue(50)
    worker.work(budget=timedelta(0))
    lease = take(worker.row.pk)
    assert lease.branch

    control.cancel(task.pk)

    assert Task.objects.filter(parent=task).count() == 1
    branch = Task.objects.get(parent=task)
    assert (branch.pk, branch.status, branch.kill_at is not None) == (lease.task, "cancelled", True)
    settle(lease, perform(lease, activity=worker.activity, stopping=lambda: False), claimant=None)
    assert not Task.objects.filter(parent=task).exists()
    assert set(Step.objects.values_list("status", flat=True)) == {"failed"}


def test_a_branch_whose_worker_was_ended_dissolves_by_a_chore(worker):
    task = wide.enqueue(3)
    worker.work(budget=timedelta(0))
    take(worker.row.pk)
    control.cancel(task.pk)

    duty.attend(1)
    assert Task.objects.filter(parent=task).count() == 1
    advance(minutes=1)
    duty.attend(1)
    assert not Task.objects.filter(parent=task).exists()


def test_a_cancelled_parent_of_branches_can_be_retried_and_keeps_what_was_done(calls):
    @step
    def counted(number: int) -> int:
        calls.append(number)
        return number

    @pipeline("cancel/counted")
    def count(number: int) -> int:
        return sum(each(counted, range(number), limit=1))

    task = count.enqueue(4)
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        worker.work(budget=timedelta(0))
    control.cancel(task.pk)
    control.retry(task.pk)

    assert finish(task).result == 6
    assert calls == [0, 1, 2, 3]


def test_a_task_that_has_ended_is_not_cancelled_nor_are_its_children_touched():
    task = finish(wide.enqueue(2))

    with pytest.raises(NotCancellable):
        control.cancel(task.pk)
    assert reload(task).cancel_reason == ""


def test_a_task_that_does_not_start_in_its_time_is_cancelled():
    @pipeline("cancel/start", start_within=timedelta(minutes=5))
    def start() -> int:
        return 1

    task = start.enqueue()
    advance(minutes=4)
    duty.attend(1)
    assert reload(task).status == "queued"
    advance(minutes=2)
    duty.attend(1)

    assert (reload(task).status, reload(task).cancel_reason) == ("cancelled", "It did not start within 0:05:00.")


def test_a_task_that_does_not_end_in_its_time_is_cancelled_with_its_children():
    @pipeline("cancel/end", finish_within=timedelta(hours=2), start_within=timedelta(hours=1))
    def end() -> int:
        return leaf(1)

    task = end.enqueue()
    work()
    advance(hours=1, minutes=50)
    duty.attend(1)
    assert reload(task).status == "waiting"
    advance(minutes=20)
    duty.attend(1)

    assert (reload(task).status, reload(task).cancel_reason) == ("cancelled", "It did not end within 2:00:00.")
    assert Task.objects.get(parent=task).status == "cancelled"


def test_nothing_is_overdue_once_it_has_ended():
    @pipeline("cancel/in-time", finish_within=timedelta(hours=2))
    def in_time() -> int:
        return 1

    task = finish(in_time.enqueue())
    advance(hours=3)
    duty.attend(1)

    assert reload(task).status == "succeeded"


class Exits(list[int]):
    """In place of the end of this process."""


@pytest.fixture
def heart(worker, monkeypatch):
    monkeypatch.setattr("taskqueue.engine.grace.ASK_EVERY", 0.0)
    exits = Exits()
    return Grace(worker.activity, end=exits.append), exits


def look(grace: Grace) -> None:
    """What the heart does on its own connection."""
    grace.look(connection.connection, grace.activity.doing)


def test_a_step_learns_that_its_task_was_cancelled_and_may_stop(worker, heart):
    seen = []

    @step
    def long() -> str:
        me = current_task()
        seen.append(me.cancelled)
        look(heart[0])
        seen.append(me.cancelled)
        control.cancel(me.id)
        look(heart[0])
        seen.append(me.cancelled)
        return "stopped early"

    @pipeline("cancel/learn")
    def learn() -> str:
        return long()

    task = learn.enqueue()
    worker.work()

    assert seen == [False, False, True]
    assert heart[1] == []
    assert reload(task).status == "cancelled"
    assert current.get() is None


def test_a_worker_still_in_a_step_when_the_grace_is_over_is_ended_with_its_stack_kept(worker, heart):
    grace, exits = heart

    @step(retry=Retry.never())
    def stuck() -> None:
        me = current_task()
        control.cancel(me.id)
        look(grace)
        assert exits == []
        deadline = time.monotonic() + 10
        while not exits and time.monotonic() < deadline:
            look(grace)
        assert me.cancelled

    @pipeline("cancel/stuck", cancel_grace=timedelta(milliseconds=300))
    def stick() -> None:
        stuck()

    task = stick.enqueue()
    worker.work()

    (attempt,) = Attempt.objects.all()
    assert (exits, attempt.task_id, attempt.step_key, attempt.outcome) == ([70], task.pk, "stuck", "stopped")
    assert "in stuck" in attempt.traceback
    assert Worker.objects.get(pk=worker.row.pk).end_reason == "ended in a step of a cancelled task"
    assert reload(task).status == "cancelled"


def test_without_a_grace_nobody_is_ended(worker, heart):
    grace, exits = heart

    @step
    def on_and_on() -> None:
        control.cancel(current_task().id)
        for _ in range(3):
            look(grace)

    @pipeline("cancel/no-grace")
    def no_grace() -> None:
        on_and_on()

    no_grace.enqueue()
    worker.work()

    assert exits == []
    assert not Attempt.objects.exists()


def test_an_idle_heart_and_a_good_lease_cost_nothing_and_change_nothing(django_assert_num_queries):
    exits = Exits()
    grace = Grace(Activity(), end=exits.append)
    with django_assert_num_queries(0):
        look(grace)
    assert grace.activity.lost is None
