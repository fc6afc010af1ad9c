"""Children: a pipeline that a body calls becomes a task of its own, and its result keeps its type."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from taskqueue import Retry, StepFailed, gather, pipeline, sleep, step
from taskqueue.engine.tasks import control
from taskqueue.errors import InvalidContext, InvalidOptions
from taskqueue.models import Step, Task
from taskqueue.policies import Limit, Singleton
from taskqueue.testing import advance, work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db


class Receipt(BaseModel):
    total: int


@step(retry=Retry.never())
def add(number: int) -> int:
    if number < 0:
        raise ValueError("too little")
    return number + 1


def charging(name="children/charge", **options):
    @pipeline(name, **options)
    def charge(number: int) -> Receipt:
        sleep("bank", timedelta(minutes=10))
        return Receipt(total=add(number))

    return charge


def test_a_called_pipeline_is_a_task_of_its_own_and_its_result_has_its_type():
    charge = charging()

    @pipeline("children/shop")
    def shop() -> int:
        receipt = charge(1)
        assert isinstance(receipt, Receipt)
        return receipt.total

    task = finish(shop.enqueue())
    child = Task.objects.get(parent=task)

    assert task.result == 2
    assert (child.pipeline_id, child.parent_key, child.depth) == ("children/charge", "children/charge", 1)
    assert outputs_of(task) == {"children/charge": {"total": 2}}
    assert Step.objects.get(task=task).child == child


def test_a_failed_child_is_a_failed_step_that_names_it():
    charge = charging()

    @pipeline("children/fails")
    def fails() -> str:
        try:
            charge(-5)
        except StepFailed as failed:
            return f"{failed.error_type} {failed.message}"
        return ""

    task = finish(fails.enqueue())
    child = Task.objects.get(parent=task)
    assert task.result == f"ValueError Child task {child.pk} failed: too little"


def test_a_cancelled_child_is_a_failed_step():
    charge = charging()

    @pipeline("children/cancelled")
    def cancelled() -> str:
        try:
            charge(1)
        except StepFailed as failed:
            return failed.error_type
        return ""

    task = cancelled.enqueue()
    work()
    control.cancel(Task.objects.get(parent=task).pk, reason="No.")

    assert finish(task).result == "ChildCancelled"


def test_a_child_is_cancelled_at_its_timeout():
    charge = charging()

    @pipeline("children/slow")
    def slow() -> str:
        try:
            charge.using(timeout=timedelta(minutes=1))(1)
        except StepFailed as failed:
            return failed.error_type
        return ""

    task = slow.enqueue()
    work()
    advance(minutes=2)
    work()

    assert reload(task).result == "TimedOut"
    child = Task.objects.get(parent=task)
    assert (child.status, child.cancel_reason) == ("cancelled", "Its parent did not wait any longer.")


def test_children_and_steps_are_gathered_together():
    charge = charging()

    @pipeline("children/gathers")
    def gathers() -> list[int]:
        first, second, number = gather(charge.defer(1), charge.using(priority=5).defer(2), add.defer(3))
        return [first.total, second.total, number]

    task = finish(gathers.enqueue())
    assert task.result == [2, 3, 4]
    assert sorted(Task.objects.filter(parent=task).values_list("priority", flat=True)) == [0, 5]


@pytest.mark.parametrize("way", ["key", "singleton"])
def test_a_child_whose_singleton_belongs_to_another_task_has_failed(way):
    charge = charging(singleton=Singleton()) if way == "singleton" else charging()
    foreign = charge.using(key="taken").enqueue(1)

    @pipeline("children/taken")
    def taken() -> str:
        try:
            charge.using(key="taken" if way == "key" else "")(1)
        except StepFailed as failed:
            return f"{failed.error_type} {failed.message}"
        return ""

    task = taken.enqueue()
    work()

    assert reload(task).result.startswith(f"DuplicateChild Task {foreign.pk} ")


def test_a_child_whose_key_has_another_payload_has_failed():
    charge = charging()
    charge.using(key="taken").enqueue(7)

    @pipeline("children/taken")
    def taken() -> str:
        try:
            charge.using(key="taken")(1)
        except StepFailed as failed:
            return failed.error_type
        return ""

    task = taken.enqueue()
    work()

    assert reload(task).result == "KeyReused"


def test_a_retry_creates_a_child_with_a_key_again():
    @step(retry=Retry.never())
    def sometimes() -> int:
        if Task.objects.filter(pipeline="children/unlucky").count() < 2:
            raise ValueError("not now")
        return 1

    @pipeline("children/unlucky")
    def unlucky() -> int:
        return sometimes()

    @pipeline("children/retries")
    def retries() -> int:
        return unlucky.using(key="one")()

    task = finish(retries.enqueue())
    assert task.status == "failed"
    control.retry(task.pk)

    assert finish(task).result == 1
    assert Task.objects.filter(parent=task).count() == 2


def test_recursion_ends_at_the_maximum_depth():
    @pipeline("children/endless")
    def endless(depth: int) -> int:
        return endless(depth + 1)

    task = finish(endless.enqueue(0))

    assert (task.status, task.error["type"]) == ("failed", "NestingTooDeep")
    assert Task.objects.filter(pipeline="children/endless").count() == 11


def test_recursion_under_a_limit_of_one_does_not_wait_for_itself():
    @pipeline("children/down", concurrency=Limit(1, key="{tenant}"))
    def down(tenant: str, depth: int) -> int:
        return down(tenant, depth - 1) + 1 if depth else 0

    assert finish(down.enqueue("a", 3)).result == 3


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_a_child_waits_in_an_async_body_too():
    @pipeline("children/inner")
    async def inner(number: int) -> int:
        return number

    @pipeline("children/outer")
    async def outer() -> int:
        return await inner(4)

    assert finish(outer.enqueue()).result == 4


def test_a_pipeline_called_in_a_step_and_a_timeout_of_enqueue_are_refused():
    charge = charging()

    @step(retry=Retry.never())
    def nested() -> int:
        return charge(1).total

    @pipeline("children/in-step")
    def in_step() -> int:
        return nested()

    assert finish(in_step.enqueue()).error["type"] == InvalidContext.__name__
    with pytest.raises(InvalidOptions, match="does not wait"):
        charge.using(timeout=timedelta(1)).enqueue(1)


def test_outside_of_tasks_it_is_a_plain_call():
    assert charging()(1) == Receipt(total=2)
    assert gather(charging().defer(1)) == (Receipt(total=2),)
