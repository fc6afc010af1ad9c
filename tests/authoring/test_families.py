"""Children: a pipeline called in a body is a task of its own, and its end is the body's result."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Limit, Permanent, StepFailed, TaskEnded, each, gather, pipeline, sleep, step, wait_for
from taskqueue.engine import control, duty
from taskqueue.models import Event, Step, Task
from taskqueue.testing import advance, work
from tests.authoring.endings import finish, reload

pytestmark = pytest.mark.django_db


@step
def add(number: int) -> int:
    if number < 0:
        raise Permanent("negative")
    return number + 1


@pipeline("family/child")
def child(number: int) -> int:
    return add(number)


@pipeline("family/parent")
def parent(number: int) -> str:
    try:
        return f"child says {child(number)}"
    except StepFailed as error:
        return f"{error.error_type}: {error.message}"


@pipeline("family/sleeper")
def sleeper() -> str:
    sleep("long", timedelta(days=3))
    return "slept"


def test_a_child_is_a_task_whose_result_the_body_gets():
    task = finish(parent.enqueue(1))

    assert task.result == "child says 2"
    born = Task.objects.get(pipeline="family/child")
    assert (born.parent_id, born.parent_key, born.depth, born.status) == (task.pk, "family/child", 1, "succeeded")
    recorded = Step.objects.get(task=task)
    assert (recorded.kind, recorded.child_id, recorded.output) == ("child", born.pk, 2)


def test_a_failed_and_a_cancelled_child_are_failures_that_name_it():
    failed = finish(parent.enqueue(-1))
    born = Task.objects.get(pipeline="family/child")
    assert failed.result.startswith(f"ChildFailed: Child task {born.pk} failed")
    assert "negative" in failed.result

    task = parent.enqueue(1)
    work(budget=timedelta(0))
    control.cancel(Task.objects.get(parent=task).pk, reason="not needed")
    assert "ChildCancelled" in finish(task).result


def test_a_child_that_takes_too_long_is_cancelled_and_the_body_is_told():
    @pipeline("family/impatient")
    def impatient() -> str:
        try:
            return sleeper.using(timeout=timedelta(hours=1))()
        except StepFailed as error:
            return error.error_type

    task = impatient.enqueue()
    work()
    advance(hours=1)
    work()

    assert reload(task).result == "TimedOut"
    assert Task.objects.get(pipeline="family/sleeper").status == "cancelled"


def test_children_run_side_by_side_and_steps_beside_them():
    @pipeline("family/several")
    def several() -> list[object]:
        both = gather(child.defer(1), add.defer(5))
        return [*both, *each(child, [10, 20])]

    assert finish(several.enqueue()).result == [2, 6, 11, 21]


def test_cancelling_a_task_cancels_all_below_it():
    @pipeline("family/above")
    def above() -> str:
        return middle()

    @pipeline("family/middle")
    def middle() -> str:
        return sleeper()

    task = above.enqueue()
    work()
    assert Task.objects.exclude(status="waiting").count() == 0
    control.cancel(task.pk, reason="enough")

    assert set(Task.objects.values_list("status", flat=True)) == {"cancelled"}
    assert reload(task).cancel_reason == "enough"
    assert Task.objects.get(pipeline="family/sleeper").cancel_reason == "The task that needed it was cancelled."
    work()
    assert set(Task.objects.values_list("status", flat=True)) == {"cancelled"}


def test_a_retried_parent_makes_its_cancelled_child_anew():
    task = parent.enqueue(1)
    work(budget=timedelta(0))
    control.cancel(task.pk)
    control.retry(task.pk)

    assert finish(task).result == "child says 2"
    assert sorted(Task.objects.filter(parent=task).values_list("status", flat=True)) == ["cancelled", "succeeded"]


def test_a_family_may_be_only_so_deep(settings):
    settings.TASKQUEUE = {"DEPTH_MAX": 2}

    @pipeline("family/deep")
    def deep(depth: int) -> int:
        return deep(depth + 1)

    task = deep.enqueue(0)
    finish(task)

    deepest = Task.objects.order_by("-depth")[0]
    assert (deepest.depth, deepest.error["type"]) == (2, "TooMany")
    assert "DEPTH_MAX" in deepest.error["message"]
    assert reload(task).status == "failed"


def test_a_pipeline_that_calls_itself_does_not_wait_for_its_own_place():
    @pipeline("family/recursive", concurrency=[Limit(1), Limit(1, key="{tenant}")])
    def recursive(tenant: str, depth: int) -> int:
        return depth if depth == 3 else recursive(tenant, depth + 1)

    assert finish(recursive.enqueue("a", 0)).result == 3


def test_a_child_whose_key_is_taken_fails_instead_of_waiting_for_ever():
    child.using(key="k").enqueue(1)

    @pipeline("family/taken")
    def taken() -> str:
        try:
            return str(child.using(key="k")(1))
        except StepFailed as error:
            return error.error_type

    assert finish(taken.enqueue()).result == "ChildTaken"


def test_outside_of_tasks_a_pipeline_is_a_function():
    assert child(1) == 2
    assert gather(child.defer(1), child.defer(2)) == (2, 3)


def test_handlers_run_once_after_a_failure_and_after_a_cancel_as_tasks_of_their_own(calls):
    @pipeline("family/handled")
    def handled(number: int) -> int:
        sleep("a while", timedelta(hours=1))
        return add(number)

    @handled.on_failure
    def tell_failure(ended: TaskEnded) -> None:
        calls.append(("failed", ended.task, ended.payload, ended.error["type"] if ended.error else ""))

    @handled.on_cancel
    def tell_cancel(ended: TaskEnded) -> None:
        calls.append(("cancelled", ended.task, ended.reason))

    failed = finish(handled.enqueue(-1))
    work()
    cancelled = handled.enqueue(1)
    work()
    control.cancel(cancelled.pk, reason="by dana")
    work()
    work()
    assert finish(handled.enqueue(1)).status == "succeeded"

    assert calls == [
        ("failed", failed.pk, {"number": -1}, "Permanent"),
        ("cancelled", cancelled.pk, "by dana"),
    ]
    assert Task.objects.filter(pipeline="family/handled.on-failure").count() == 1


def test_an_end_is_announced_if_somebody_listens(calls):
    @pipeline("family/quiet")
    def quiet() -> int:
        return 1

    finish(quiet.enqueue())
    assert Event.objects.count() == 0

    @pipeline("family/listener")
    def listener() -> object:
        return wait_for("family/quiet.completed", timeout=timedelta(days=1))

    task = listener.enqueue()
    work()
    spoken = quiet.enqueue()
    work()
    work()

    assert reload(task).result["task"] == str(spoken.pk)
    assert reload(task).result["result"] == 1


def test_what_its_worker_could_not_tell_is_told_by_the_next_sweep(monkeypatch):
    from taskqueue.engine import settlement

    task = parent.enqueue(1)
    monkeypatch.setattr(settlement, "tell", lambda _task: False)
    work()
    assert reload(task).status == "waiting"
    monkeypatch.undo()
    duty.attend(1)

    assert finish(task).result == "child says 2"


def test_a_task_that_does_not_start_or_end_in_time_is_cancelled_with_the_reason():
    @pipeline("family/late", start_within=timedelta(hours=1), finish_within=timedelta(hours=2))
    def late() -> str:
        sleep("long", timedelta(days=1))
        return "done"

    never_started = late.enqueue()
    advance(hours=1, minutes=1)
    duty.attend(1)
    started = late.enqueue()
    work()
    advance(hours=2, minutes=1)
    duty.attend(1)

    assert [reload(never_started).status, reload(started).status] == ["cancelled", "cancelled"]
    assert "did not start" in reload(never_started).cancel_reason
    assert "did not end within 2:00:00" in reload(started).cancel_reason
