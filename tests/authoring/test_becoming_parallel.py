"""A deploy turns plain steps into parallel steps, or back, while a task is unfinished."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Rate, Retry, StepFailed, gather, pipeline, sleep, step
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.worker.settle import settle
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.endings import finish, outputs_of, reload
from tests.support.leases import take
from tests.support.pipelines.deploys import deploy

pytestmark = pytest.mark.django_db

IN_FIVE_MINUTES = Retry.fixed(timedelta(minutes=5), retries=2)


@step
def notify(number: int) -> str:
    return f"notified {number}"


@pytest.mark.parametrize("strict", [False, True])
def test_a_retrying_step_continues_as_a_parallel_step(calls, strict):
    @step(retry=IN_FIVE_MINUTES)
    def charge(number: int) -> str:
        calls.append(number)
        if len(calls) < 3:
            raise ConnectionError("no bank")
        return f"charged {number}"

    def plain() -> list[str]:
        return [charge(1), notify(1)]

    def parallel() -> list[str]:
        return list(gather(charge.defer(2), notify.defer(1)))

    task = deploy(plain, strict=strict).enqueue()
    work()
    assert reload(task).status == "retrying"
    deploy(parallel, strict=strict)
    advance(minutes=6)
    work()

    row = Step.objects.get(task=task, key="charge")
    assert (row.kind, row.status, row.error, row.input) == ("parallel", "waiting", None, {"number": 2})
    task = finish(task)
    assert (task.status, task.result) == ("succeeded", ["charged 2", "notified 1"])
    assert calls == [1, 2, 2]


def test_a_rate_limited_step_continues_as_a_parallel_step(calls):
    @step(rate=Rate(1, per=timedelta(hours=1), name="becoming/hourly"))
    def charge(number: int) -> int:
        calls.append(number)
        return number

    @pipeline("becoming/first")
    def first() -> int:
        return charge(0)

    def plain() -> list[object]:
        return [charge(1), notify(1)]

    def parallel() -> list[object]:
        return list(gather(charge.defer(1), notify.defer(1)))

    first.enqueue()
    task = deploy(plain).enqueue()
    work()
    assert (reload(task).status, Step.objects.get(task=task).kind) == ("waiting", "step")
    deploy(parallel)
    advance(hours=1)

    outcomes = work(budget=timedelta(seconds=5))

    assert len(outcomes) < 10
    task = finish(task)
    assert (task.result, calls) == ([1, "notified 1"], [0, 1])


def test_a_retrying_step_may_become_a_sleep():
    @step(name="rest", retry=IN_FIVE_MINUTES)
    def rest() -> None:
        raise ConnectionError

    def awake() -> str:
        rest()
        return ""

    def asleep() -> str:
        sleep("rest", timedelta(minutes=1))
        return "rested"

    task = deploy(awake).enqueue()
    work()
    deploy(asleep)
    advance(minutes=6)
    work()

    assert Step.objects.get(task=task).kind == "sleep"
    assert finish(task).result == "rested"


def test_an_open_parallel_step_may_become_a_plain_call(calls):
    @step
    def charge(number: int) -> int:
        calls.append(number)
        return number

    @pipeline("becoming/slow")
    def slow() -> None:
        sleep("long", timedelta(days=1))

    def parallel() -> int:
        gather(slow.using(timeout=timedelta(minutes=1)).defer(), charge.defer(1), charge.defer(2))
        return 0

    def plain() -> int:
        try:
            slow.using(timeout=timedelta(minutes=1))()
        except StepFailed:
            return charge(1) + charge(2)
        return 0

    task = deploy(parallel).enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        leases = [lease_of_parallel_step(worker, task), lease_of_parallel_step(worker, task)]
        deploy(plain)
        advance(minutes=1)
        work()
        assert (calls, reload(task).status) == ([], "waiting")

        for lease in leases:
            settle(lease, execute_task(lease, activity=worker.activity, stopping=lambda: False), claim_request=None)

    task = finish(task)
    assert (task.result, calls) == (3, [1, 2])
    assert outputs_of(task) == {"becoming/slow": None, "charge": 1, "charge#2": 2}


def lease_of_parallel_step(worker, task):
    """Claim one of the task's parallel steps, so that other workers do not get it."""
    while (lease := take(worker.row.pk)).parent != task.pk or not lease.parallel_step:
        Task.objects.filter(pk=lease.task).update(status="waiting", due_at=None, sort_at=None)
    return lease
