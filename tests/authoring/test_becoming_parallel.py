"""Steps that become parallel, and parallel ones that become plain, under the record of a task that has not ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Rate, Retry, StepFailed, gather, pipeline, sleep, step
from taskqueue.engine.execution.run import perform
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
def test_a_step_that_waits_for_its_next_try_is_tried_as_a_branch(calls, strict):
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


def test_a_step_that_its_rate_holds_back_is_called_as_a_branch(calls):
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


def test_a_step_that_waits_for_its_next_try_may_become_a_sleep():
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


def test_an_open_branch_that_becomes_a_plain_call_is_waited_for_and_its_siblings_go_on(calls):
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
        branches = [lease_of_branch(worker, task), lease_of_branch(worker, task)]
        deploy(plain)
        advance(minutes=1)
        work()
        assert (calls, reload(task).status) == ([], "waiting")

        for lease in branches:
            settle(lease, perform(lease, activity=worker.activity, stopping=lambda: False), claim_request=None)

    task = finish(task)
    assert (task.result, calls) == (3, [1, 2])
    assert outputs_of(task) == {"becoming/slow": None, "charge": 1, "charge#2": 2}


def lease_of_branch(worker, task):
    """The lease of one of the task's branches, which other workers then find taken."""
    while (lease := take(worker.row.pk)).parent != task.pk or not lease.parallel_step:
        Task.objects.filter(pk=lease.task).update(status="waiting", due_at=None, sort_at=None)
    return lease
