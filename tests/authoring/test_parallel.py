"""Parallel steps: they run on any worker, keep the order of results, and fail only when all have ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from taskqueue import GatherFailed, Retry, StepFailed, current_task, each, gather, pipeline, step
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.tasks import control
from taskqueue.errors import InvalidContext, TaskNotFound
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db


@step
def double(number: int) -> int:
    return number * 2


@step
async def shout(text: str) -> str:
    return text.upper()


@step(retry=Retry.never())
def picky(number: int) -> int:
    if number == 2:
        raise ValueError("not two")
    return number


def test_parallel_results_keep_their_types_and_order():
    @pipeline("parallel/two")
    def two() -> list[object]:
        number, text = gather(double.defer(4), shout.defer("a"))
        return [number, text, double(1)]

    task = two.enqueue()
    work()

    assert reload(task).result == [8, "A", 2]
    assert outputs_of(task) == {"double": 8, "shout": "A", "double#2": 2}
    assert Task.objects.count() == 1


def test_the_parent_waits_without_a_worker():
    @pipeline("parallel/waits")
    def waits_for_both() -> int:
        return sum(each(double, [1, 2]))

    task = waits_for_both.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))

    assert reload(task).status == "waiting"
    assert Task.objects.filter(parent=task, status="queued").count() == 2
    assert [found.pk for found in tasks.listing()] == [task.pk]


def test_a_parallel_step_is_not_visible_as_a_task():
    @pipeline("parallel/hidden")
    def hidden() -> int:
        return sum(each(double, [1]))

    task = hidden.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
    parallel_step = Task.objects.get(parent=task)

    for verb in (control.cancel, control.retry, control.rerun, tasks.find, status_of, tasks.has_ended):
        with pytest.raises(TaskNotFound):
            verb(parallel_step.pk)


def test_failures_are_raised_with_all_outcomes():
    @pipeline("parallel/fails")
    def fails() -> list[str]:
        try:
            each(picky, [1, 2, 3])
        except GatherFailed as failed:
            return [str(outcome) for outcome in failed.outcomes]
        return []

    task = finish(fails.enqueue())

    assert task.result == ["1", "Step 'picky#2' failed: ValueError: not two", "3"]
    assert Attempt.objects.get(task=task).step_key == "picky#2"


def test_a_retry_runs_only_the_failed_parallel_steps(calls):
    broken = [True]

    @step(retry=Retry.never())
    def sometimes(number: int) -> int:
        calls.append(number)
        if number == 2 and broken:
            raise ValueError("not now")
        return number

    @pipeline("parallel/uncaught")
    def uncaught() -> list[int]:
        return each(sometimes, [1, 2, 3])

    task = finish(uncaught.enqueue())
    assert (task.status, task.error["step"], task.error["type"]) == ("failed", "sometimes#2", "ValueError")

    broken.clear()
    control.retry(task.pk)
    task = finish(task)

    assert task.result == [1, 2, 3]
    assert sorted(calls) == [1, 2, 2, 3]


def test_failures_can_be_collected():
    @pipeline("parallel/collects")
    def collects() -> list[bool]:
        outcomes = each(picky, [1, 2, 3], errors="collect")
        return [isinstance(outcome, StepFailed) for outcome in outcomes]

    assert finish(collects.enqueue()).result == [False, True, False]


def test_a_parallel_steps_failed_attempts_belong_to_its_parent(calls):
    @step(retry=Retry.fixed(timedelta(minutes=1), retries=2))
    def flaky() -> str:
        calls.append(current_task().attempt)
        if len(calls) < 3:
            raise ValueError("again")
        return "done"

    @pipeline("parallel/flaky")
    def attempts_of() -> tuple[str, int]:
        return gather(flaky.defer(), double.defer(2))

    task = finish(attempts_of.enqueue())

    assert (task.result, calls) == (["done", 4], [1, 2, 3])
    assert list(Attempt.objects.filter(task=task).values_list("step_key", "number")) == [("flaky", 1), ("flaky", 2)]


def test_a_parallel_step_has_the_parents_current_task(calls):
    @step
    def who() -> None:
        task = current_task()
        calls.append((task.id, task.pipeline, task.key, task.labels))

    @pipeline("parallel/who")
    def asks() -> None:
        gather(who.defer())

    task = finish(asks.using(key="k", labels={"a": "b"}).enqueue())

    assert calls == [(task.pk, "parallel/who", "k", {"a": "b"})]


def test_never_more_than_its_limit_are_ready_at_a_time(calls):
    @step
    def count(number: int) -> int:
        at_work = Task.objects.exclude(parallel_step="").filter(status__in=["queued", "running"]).count()
        calls.append(at_work)
        return number

    @pipeline("parallel/limited")
    def limited() -> list[int]:
        return each(count, list(range(200)), limit=4)

    task = finish(limited.enqueue())

    assert task.result == list(range(200))
    assert (len(calls), max(calls)) == (200, 4)


def test_a_failed_parallel_step_lets_the_next_begin():
    @pipeline("parallel/limited-fails")
    def limited() -> int:
        return len(each(picky, [2, 1, 2, 3], limit=1, errors="collect"))

    assert finish(limited.enqueue()).result == 4


def test_items_with_keys_may_change_their_order(calls):
    order = [["a", "b"], ["b", "a"]]

    @step
    def note(name: str) -> str:
        calls.append(name)
        return name

    @pipeline("parallel/keyed")
    def keyed() -> list[str]:
        return each(note, order.pop(0) if len(order) > 1 else order[0], key=str)

    task = finish(keyed.enqueue())

    assert task.result == ["b", "a"]
    assert set(outputs_of(task)) == {"note:a", "note:b"}
    assert sorted(calls) == ["a", "b"]


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_an_async_body_gathers_by_a_plain_call():
    @pipeline("parallel/async")
    async def both() -> tuple[int, str]:
        return gather(double.defer(1), shout.defer("x"))

    assert finish(both.enqueue()).result == [2, "X"]


def test_outside_of_tasks_the_functions_are_called_in_order():
    assert gather(double.defer(1), shout.defer("x")) == (2, "X")
    assert each(double, [3, 1]) == [6, 2]
    with pytest.raises(GatherFailed, match="1 of 2 steps failed"):
        each(picky, [1, 2])


def test_inside_a_step_they_are_refused():
    @step
    def nested() -> list[int]:
        return each(double, [1])

    @pipeline("parallel/nested")
    def nests() -> None:
        nested()

    task = finish(nests.enqueue())
    assert (task.status, task.error["type"]) == ("failed", InvalidContext.__name__)


def test_too_many_parallel_steps_fail_the_task(settings):
    settings.TASKQUEUE = {"PARALLEL_STEPS_MAX": 2}

    @pipeline("parallel/many")
    def many() -> None:
        each(double, [1, 2, 3])

    task = many.enqueue()
    work()

    task = reload(task)
    assert (task.status, task.error["type"]) == ("failed", "TooManyParallelSteps")


def test_no_items_are_an_empty_result():
    @pipeline("parallel/none")
    def nothing() -> int:
        return len(each(double, [])) + len(gather())

    task = nothing.enqueue()
    work()
    assert reload(task).result == 0


def test_a_worker_lost_in_a_parallel_step_repeats_only_that_step(calls):
    @step
    def dies(number: int) -> int:
        calls.append(number)
        return number

    @pipeline("parallel/lost")
    def lost() -> list[int]:
        return each(dies, [1, 2])

    task = lost.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
    with InProcessWorker() as doomed:
        Task.objects.filter(parent=task, parent_key="dies").update(
            status="running", worker=doomed.row, lease=1, started_at=reload(task).started_at
        )
        doomed.die()
    finish(task)

    assert reload(task).result == [1, 2]
    assert Attempt.objects.get(task=task).outcome == "lost"
    assert Step.objects.filter(task=task).count() == 2


@pytest.fixture(autouse=True)
def _no_parallel_steps_left() -> Iterator[None]:
    """An ended task never leaves a parallel step."""
    yield
    assert not Task.objects.exclude(parallel_step="").filter(parent__finished_at__isnull=False).exists()
