"""The ends of short tasks of idempotent pipelines are written together, and a crash loses none of the tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.db.models import F

from taskqueue import Retry, each, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Failed, Succeeded
from taskqueue.engine.worker import pace
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.held_ends import finish_values
from taskqueue.models import Attempt, Step, Task, Worker
from taskqueue.testing import InProcessWorker, work
from tests.support.database.backlogs import forget_statistics, unchecked
from tests.support.database.plans import HISTORY, explain, sequential_scans, tasks_read
from tests.support.moves import arranging
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db

executed: list[int] = []
"""The numbers that were executed, in order."""
at_number: dict[int, Any] = {}
"""What happens in the step of a number."""


@step(retry=Retry.never())
def mark(number: int) -> int | str:
    executed.append(number)
    found = at_number.get(number, number)
    return found() if callable(found) else found


@pipeline("held/idempotent", idempotent=True)
def idempotent(number: int) -> int | str:
    return mark(number)


@pipeline("held/no-step", idempotent=True)
def without_step(number: int) -> int:
    executed.append(number)
    return number


@pipeline("held/ordinary")
def ordinary(number: int) -> int | str:
    return mark(number)


@pipeline("held/limited", idempotent=True, concurrency=5)
def limited(number: int) -> int | str:
    return mark(number)


@pipeline("held/cancelled-by-event", idempotent=True, cancel_on="held/stop")
def cancelled_by_event(number: int) -> int | str:
    return mark(number)


@pipeline("held/announced", idempotent=True, announce=True)
def announced(number: int) -> int | str:
    return mark(number)


@pipeline("held/parallel", idempotent=True)
def parallel(number: int) -> list[int | str]:
    return each(mark, range(number))


@pytest.fixture(autouse=True)
def _all_tasks_are_short(monkeypatch):
    monkeypatch.setattr(pace, "SHORT", 60.0)
    executed.clear()
    at_number.clear()


@pytest.fixture
def ends(monkeypatch):
    """How many tasks each statement ends, in order."""
    numbers: list[int] = []
    fetch = sql.fetch

    def noted(statement, parameters):
        if sql.FINISH_MANY in statement:
            numbers.append(len(parameters["tasks"]))
        elif sql.FINISH in statement or sql.FINISH_WITH_STEP in statement:
            numbers.append(1)
        return fetch(statement, parameters)

    monkeypatch.setattr(sql, "fetch", noted)
    return numbers


def statuses() -> list[str]:
    return list(Task.objects.order_by("created_at", "pk").values_list("status", flat=True))


def test_tasks_that_were_claimed_together_end_in_one_commit(ends):
    for number in range(40):
        idempotent.enqueue(number)

    work()

    assert sum(ends) == 40
    assert ends == [1, 2, 8, 20, 9]
    assert executed == list(range(40))
    assert set(Task.objects.values_list("payload__number", "result")) == {(number, number) for number in range(40)}
    assert set(Step.objects.values_list("key", "status", "output")) == {
        ("mark", "succeeded", number) for number in range(40)
    }
    assert not Task.objects.exclude(code_ended=F("code_began")).exists()


def test_a_body_without_a_step_ends_with_the_others(ends):
    for number in range(15):
        without_step.enqueue(number)

    work()

    assert max(ends) == 8
    assert set(statuses()) == {"succeeded"}
    assert not Step.objects.exists()


def test_other_pipelines_end_at_once_and_what_is_held_before_the_next_claim(ends):
    for number in range(15):
        (ordinary if number % 4 == 3 else idempotent).enqueue(number)
    unwritten: list[int] = []

    def look():
        unwritten.append(
            Task.objects.filter(pipeline="held/ordinary", status="running", payload__number__lt=11).count()
        )
        return 11

    at_number[11] = look

    work()

    assert unwritten == [0]  # number 3 and 7 have ended
    assert sum(ends) == 15
    assert max(ends) > 1
    assert ends.count(1) >= 3
    assert set(statuses()) == {"succeeded"}
    assert Step.objects.count() == 15


@pytest.mark.parametrize("other", [limited, cancelled_by_event, announced], ids=lambda each: each.definition.name)
def test_a_task_whose_end_is_awaited_ends_alone(other, ends):
    for number in range(15):
        other.enqueue(number)

    work()

    assert set(ends) == {1}
    assert set(statuses()) == {"succeeded"}


def test_parallel_steps_end_alone():
    task = parallel.enqueue(10)

    work()

    assert Task.objects.get(pk=task.pk).result == list(range(10))


def test_held_tasks_of_a_killed_worker_are_executed_again():
    def killed():
        raise KeyboardInterrupt

    for number in range(20):
        idempotent.enqueue(number)
    at_number[16] = killed
    with pytest.raises(KeyboardInterrupt):
        (dead := InProcessWorker()).work()
    held = [lease.task for lease, _outcome in dead.activity.held_ends]
    dead.die()
    dispatch.run_due(5)
    at_number.clear()

    work()

    assert len(held) == 5  # of the fourth claim, behind those of 1, 2 and 8 tasks
    assert set(statuses()) == {"succeeded"}
    assert sorted(executed) == sorted([*range(20), *range(11, 17)])
    assert Attempt.objects.get().outcome == "lost"  # of one task, and the others are innocent


def test_a_task_that_was_lost_ends_alone(ends):
    for number in range(15):
        idempotent.enqueue(number)
    lost = Task.objects.get(payload__number=9)
    with arranging():
        Task.objects.filter(pk=lost.pk).update(lease=1)

    work()

    assert 1 in ends[3:]
    assert set(statuses()) == {"succeeded"}


def test_a_refused_result_fails_its_task_only():
    for number in range(15):
        idempotent.enqueue(number)
    at_number[9] = "\0"

    work()

    failed = Task.objects.get(status="failed")
    assert failed.payload == {"number": 9}
    assert set(Task.objects.exclude(pk=failed.pk).values_list("status", flat=True)) == {"succeeded"}
    assert sorted(executed) == list(range(15))


def test_a_held_task_that_is_cancelled_meanwhile_stays_cancelled():
    for number in range(7):
        idempotent.enqueue(number)

    def cancel():
        with arranging():
            Task.objects.filter(payload__number=4, status="running").update(status="cancelled", finished_at=F("due_at"))
        return 5

    at_number[5] = cancel

    work()

    assert statuses() == [*["succeeded"] * 4, "cancelled", *["succeeded"] * 2]


def test_ends_of_two_rows_of_one_worker_are_all_written():
    """The heartbeat may have registered the worker again between two tasks."""
    for number in range(2):
        idempotent.enqueue(number)
    with InProcessWorker() as before, InProcessWorker() as after:
        leases = [*claim(ClaimRequest(before.worker)), *claim(ClaimRequest(after.worker))]

        sql.fetch(sql.standalone(sql.FINISH_MANY), finish_values([(lease, Succeeded("1")) for lease in leases]))

    assert statuses() == ["succeeded"] * 2


@pytest.mark.django_db(transaction=True)
def test_an_error_of_the_held_ends_leaves_no_other_last_step_unrecorded(monkeypatch):
    for number in range(6):
        idempotent.enqueue(number)
    other = ordinary.enqueue(6)
    fetch = sql.fetch

    def away(statement, parameters):
        if sql.FINISH_MANY in statement and len(parameters["tasks"]) == 3:
            raise OperationalError("the connection is lost")
        return fetch(statement, parameters)

    monkeypatch.setattr(sql, "fetch", away)
    monkeypatch.setattr(pace, "MOST_PREFETCHED", 4)
    with InProcessWorker() as worker, pytest.raises(OperationalError):
        worker.work()

    assert Task.objects.get(pk=other.pk).status == "succeeded"
    assert Step.objects.get(task=other).output == 6


def test_failures_are_not_held(ends):
    def broken():
        raise ValueError("no")

    for number in range(7):
        idempotent.enqueue(number)
    at_number[5] = broken

    outcomes = work()

    assert [type(outcome) for outcome in outcomes].count(Failed) == 1
    assert statuses().count("succeeded") == 6


@pytest.mark.django_db(transaction=True)
class TestHeartbeat:
    def test_ends_behind_a_slow_task_are_written(self, heartbeat):
        for number in range(3):
            idempotent.enqueue(number)
        *ended, slow = claim(ClaimRequest(heartbeat.worker, most=3))
        heartbeat.activity.held_ends.extend((lease, Succeeded("1")) for lease in ended)
        heartbeat.activity.begin_task(slow)

        eventually(lambda: Task.objects.filter(status="succeeded", result=1).count() == 2)

        assert not heartbeat.activity.held_ends
        assert Task.objects.get(status="running").pk == slow.task

    def test_ends_that_met_a_lock_are_written_later(self, heartbeat):
        for number in range(3):
            idempotent.enqueue(number)
        *ended, slow = claim(ClaimRequest(heartbeat.worker, most=3))
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=ended[0].task)
            heartbeat.activity.held_ends.extend((lease, Succeeded("1")) for lease in ended)
            heartbeat.activity.begin_task(slow)
            eventually(lambda: not heartbeat.activity.held_ends)
            heartbeat.activity.set_idle()
            beaten_at = Worker.objects.get().heartbeat_at
            heartbeat.claim_error = "beat at once"
            eventually(lambda: Worker.objects.get().heartbeat_at > beaten_at)

        eventually(lambda: Task.objects.filter(status="succeeded").count() == 2)

    def test_a_stopping_worker_writes_them(self, heartbeat):
        idempotent.enqueue(1)
        (lease,) = claim(ClaimRequest(heartbeat.worker))
        heartbeat.activity.held_ends.append((lease, Succeeded("1")))

        heartbeat.stop()

        assert statuses() == ["succeeded"]

    def test_a_refused_result_sends_its_task_back_to_the_queue(self, heartbeat):
        for number in range(3):
            idempotent.enqueue(number)
        good, refused, slow = claim(ClaimRequest(heartbeat.worker, most=3))
        heartbeat.activity.held_ends.extend([(good, Succeeded("1")), (refused, Succeeded('"\\u0000"'))])
        heartbeat.activity.begin_task(slow)

        eventually(lambda: Task.objects.get(pk=refused.task).status == "queued")
        assert Task.objects.get(pk=good.task).status == "succeeded"

    def test_a_locked_task_keeps_no_worker_from_being_renewed(self, heartbeat):
        for number in range(2):
            idempotent.enqueue(number)
        ended, unsettled = claim(ClaimRequest(heartbeat.worker, most=2))
        before = heartbeat.worker
        heartbeat.activity.held_ends.append((ended, Succeeded("1")))
        heartbeat.activity.set_unsettled(unsettled)
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=ended.task)
            heartbeat.renew(OperationalError("no answer"))

        assert heartbeat.worker != before
        dispatch.run_due(5)
        assert statuses() == ["queued", "queued"]

    def test_a_renewed_worker_writes_them_first(self, heartbeat):
        for number in range(3):
            idempotent.enqueue(number)
        first, second, third = claim(ClaimRequest(heartbeat.worker, most=3))
        heartbeat.activity.held_ends.extend([(first, Succeeded("1")), (replace(second, number=5), Succeeded("1"))])
        heartbeat.activity.set_unsettled(third)

        heartbeat.renew(OperationalError("no answer"))

        assert statuses() == ["succeeded", "queued", "queued"]
        assert not heartbeat.activity.held_ends


def test_the_statement_reads_the_ended_tasks_only():
    forget_statistics()
    for number in range(8):
        idempotent.enqueue(number)
    with InProcessWorker() as worker:
        with unchecked() as cursor:
            cursor.execute(HISTORY, [worker.row.pk])
        leases = claim(ClaimRequest(worker.worker, most=8))
        ends = [(lease, Succeeded("1")) for lease in leases]

        tree = explain(sql.standalone(sql.FINISH_MANY), finish_values(ends))

    assert not sequential_scans(tree)
    assert tasks_read(tree) == len(ends)
