"""Branches: steps side by side on any workers, their results in order, their failures together."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from taskqueue import GatherFailed, Permanent, Retry, StepFailed, current_task, each, gather, pipeline, step
from taskqueue.engine import control
from taskqueue.engine.claims import Claimant, claim
from taskqueue.engine.queries import listing
from taskqueue.errors import TaskNotFound
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.authoring.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db
broken: Counter[str] = Counter()


@step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
def double(number: int) -> int:
    if broken[f"double {number}"]:
        broken[f"double {number}"] -= 1
        raise ConnectionError(f"no {number}")
    return number * 2


@step
def shout(text: str) -> str:
    if text == "hopeless":
        raise Permanent("never")
    return text.upper()


@pytest.fixture(autouse=True)
def _nothing_broken():
    broken.clear()


@pipeline("branches/two")
def two(text: str) -> list[object]:
    number, loud = gather(double.defer(4), shout.defer(text))
    return [number, loud]


@pipeline("branches/each")
def many(numbers: list[int], limit: int | None = None) -> list[int]:
    return each(double, numbers, limit=limit)


def test_results_come_in_the_order_of_the_calls_and_are_steps_of_the_task():
    task = finish(two.enqueue("hi"))

    assert task.result == [8, "HI"]
    assert outputs_of(task) == {"double": 8, "shout": "HI"}
    assert set(Step.objects.values_list("kind", flat=True)) == {"branch"}
    assert Task.objects.count() == 1


def test_branches_are_claimed_by_several_workers_at_once_and_nobody_waits_meanwhile():
    task = many.enqueue([1, 2, 3])
    work(budget=timedelta(0))
    with InProcessWorker() as worker:
        leases = [claim(Claimant(worker.worker))[0] for _ in range(3)]
        assert {lease.parent for lease in leases} == {task.pk}
        assert reload(task).status == "waiting"
        assert list(listing()) == [task]
        worker.leave()
    assert finish(task).result == [2, 4, 6]


def test_each_keeps_the_order_of_its_items_and_its_keys_by_place_or_by_item():
    @pipeline("branches/keyed")
    def keyed(numbers: list[int]) -> list[int]:
        return each(double, numbers, key=str)

    task = finish(keyed.enqueue([3, 1, 2]))

    assert task.result == [6, 2, 4]
    assert outputs_of(task) == {"double:3": 6, "double:1": 2, "double:2": 4}
    assert list(outputs_of(finish(many.enqueue([5, 6])))) == ["double", "double#2"]


def test_a_limit_lets_so_many_run_at_a_time_and_each_end_lets_the_next_begin():
    task = many.enqueue(list(range(20)), limit=4)
    work(budget=timedelta(0))
    seen = 0
    with InProcessWorker() as worker:
        while reload(task).status == "waiting":
            under_way = Task.objects.filter(parent=task).exclude(status="waiting").count()
            seen = max(seen, under_way)
            assert under_way <= 4
            worker.work(budget=timedelta(0))
    assert seen == 4
    assert finish(task).result == [number * 2 for number in range(20)]


def test_a_failing_branch_is_tried_again_by_its_own_policy_and_its_attempts_are_the_tasks():
    broken["double 2"] = 1
    task = many.enqueue([1, 2])
    work()
    assert reload(task).status == "waiting"
    advance(minutes=2)
    work()

    assert reload(task).result == [2, 4]
    attempt = Attempt.objects.get()
    assert (attempt.task_id, attempt.step_key, attempt.number) == (task.pk, "double#2", 1)


def test_a_branch_that_fails_for_good_is_told_with_its_siblings_outcomes_when_all_have_ended(calls):
    @pipeline("branches/fails")
    def fails() -> str:
        try:
            gather(shout.defer("hopeless"), double.defer(2), shout.defer("fine"))
        except GatherFailed as error:
            calls.append(error.outcomes)
            return str(error)
        return ""

    task = finish(fails.enqueue())

    assert "never" in task.result
    failed, *others = calls[-1]
    assert isinstance(failed, StepFailed)
    assert others == [4, "FINE"]
    assert dict(Step.objects.values_list("key", "status")) == {
        "shout": "failed",
        "double": "succeeded",
        "shout#2": "succeeded",
    }


def test_failures_can_be_collected_in_their_places():
    @pipeline("branches/collects")
    def collects() -> list[str]:
        found = each(shout, ["a", "hopeless", "c"], errors="collect")
        return [one.error_type if isinstance(one, StepFailed) else one for one in found]

    assert finish(collects.enqueue()).result == ["A", "Permanent", "C"]


def test_an_uncaught_failure_fails_the_task_and_a_retry_repeats_only_what_failed():
    broken["double 2"] = 2
    task = many.enqueue([1, 2, 3])
    work()
    advance(minutes=2)
    work()
    task = reload(task)
    assert (task.status, task.error["step"], task.error["type"]) == ("failed", "double#2", "ConnectionError")
    started = {step.key: step.started_at for step in Step.objects.exclude(key="double#2")}

    control.retry(task.pk)
    assert finish(task).result == [2, 4, 6]
    assert {step.key: step.started_at for step in Step.objects.exclude(key="double#2")} == started


def test_a_branch_knows_the_task_that_it_works_for(calls):
    @step
    def who() -> str:
        calls.append((current_task().id, current_task().labels, current_task().key))
        return "me"

    @pipeline("branches/who")
    def asks() -> tuple[str, ...]:
        return gather(who.defer())

    task = finish(asks.using(labels={"tenant": "a"}, key="k").enqueue())

    assert calls == [(task.pk, {"tenant": "a"}, "k")]


def test_an_async_step_and_an_async_body_gather_too():
    @step
    async def wait_a_moment(number: int) -> int:
        return number + 1

    @pipeline("branches/async")
    async def gathers() -> tuple[int, int]:
        return gather(wait_a_moment.defer(1), double.defer(2))

    assert finish(gathers.enqueue()).result == [2, 4]


def test_a_lost_worker_in_a_branch_loses_a_try_of_that_branch_alone():
    task = many.enqueue([1, 2])
    work(budget=timedelta(0))
    with InProcessWorker() as worker:
        claim(Claimant(worker.worker))
        worker.die()
        work()
    assert finish(task).result == [2, 4]
    assert list(Attempt.objects.values_list("outcome", "task")) == [("lost", task.pk)]


def test_a_branch_is_no_task_to_callers():
    many.enqueue([1, 2])
    work(budget=timedelta(0))
    branch = Task.objects.exclude(branch="").first()

    with pytest.raises(TaskNotFound):
        control.cancel(branch.pk)
    with pytest.raises(TaskNotFound):
        control.retry(branch.pk)


def test_too_many_branches_fail_the_task_with_the_setting_to_change(settings):
    settings.TASKQUEUE = {"BRANCHES_MAX": 3}
    task = many.enqueue([1, 2, 3, 4])
    work()

    assert (reload(task).status, reload(task).error["type"]) == ("failed", "TooMany")
    assert "BRANCHES_MAX" in reload(task).error["message"]


def test_cancelling_the_task_ends_its_branches():
    task = many.enqueue([1, 2, 3], limit=1)
    work(budget=timedelta(0))
    control.cancel(task.pk)
    work()

    assert reload(task).status == "cancelled"
    assert Task.objects.count() == 1


def test_outside_of_tasks_everything_is_called_in_its_order():
    assert gather(double.defer(1), shout.defer("a")) == (2, "A")
    assert each(double, [1, 2]) == [2, 4]
    with pytest.raises(ValueError, match="above nothing"):
        each(double, [1], limit=0)


def test_nothing_to_do_is_done_at_once():
    @pipeline("branches/nothing")
    def nothing() -> list[object]:
        return [gather(), each(double, [])]

    assert finish(nothing.enqueue()).result == [[], []]


def test_a_thousand_branches_are_made_by_a_handful_of_statements(django_assert_max_num_queries):
    task = many.enqueue(list(range(1000)))
    with InProcessWorker() as worker, django_assert_max_num_queries(25):
        worker.work(budget=timedelta(0))

    assert Task.objects.filter(parent=task).count() == 1000
