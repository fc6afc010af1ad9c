"""A parallel step with a limit passes its slot on to the next one, without the lock of its parent."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskqueue import Retry, each, pipeline, step
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.taken_queues import taking
from taskqueue.engine.tasks import control
from taskqueue.engine.worker import pace
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.pace import Pace
from taskqueue.engine.worker.settle import settle
from taskqueue.models import Attempt, Pipeline, Step, Task, Worker
from taskqueue.testing import InProcessWorker
from tests.support.database.costs import costs
from tests.support.database.races import OpenTransaction, run_concurrently, wait_for_blocked_session
from tests.support.endings import finish, outputs_of
from tests.support.moves import arranging
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "parallel-slots/three"


@step
def same(number: int) -> int:
    return number


@pipeline(NAME)
def three(steps: int) -> int:
    return sum(each(same, range(steps), limit=3))


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def begin(worker, steps):
    """A task that waits for its parallel steps, and the leases of the first three."""
    task = three.enqueue(steps)
    worker.work(budget=timedelta(0))
    return task, [lease for _ in range(3) for lease in claim(ClaimRequest(worker.worker))]


def executed(lease, worker):
    return execute_task(lease, activity=worker.activity, stopping=lambda: False)


def continued(lease, worker, *, most=0):
    """The next leases of a worker that goes on with the limit of the step that it ends."""
    request = ClaimRequest(worker.worker, most=most, continues=True)
    return settle(lease, executed(lease, worker), claim_request=request)


def end(lease, worker, *, most=1, claims=True):
    return settle(
        lease, executed(lease, worker), claim_request=ClaimRequest(worker.worker, most=most) if claims else None
    )


def unfinished(task, *statuses):
    return Task.objects.filter(parent=task, status__in=statuses).count()


def test_the_step_the_end_and_the_next_start_are_one_statement(worker):
    task, (first, *_others) = begin(worker, 6)

    with costs(statements=1, commits=1):
        (following,) = end(first, worker)

    assert following.parent_key == "same#4"
    recorded = Step.objects.get(task=task, key="same")
    assert (recorded.status, recorded.output, recorded.child_id, recorded.input) == (
        "succeeded",
        0,
        None,
        {"number": 0},
    )
    assert not Task.objects.filter(pk=first.task).exists()
    assert not Step.objects.filter(task_id=first.task).exists()
    assert unfinished(task, "running") == 3
    assert unfinished(task, "queued") == 0


def test_without_a_claim_the_next_one_is_queued(worker):
    task, (first, *_others) = begin(worker, 6)

    assert end(first, worker, claims=False) == []

    assert unfinished(task, "running", "queued") == 3
    assert Task.objects.get(parent=task, status="queued").parent_key == "same#4"


def test_the_last_ones_queue_the_parent(worker):
    task, leases = begin(worker, 3)

    for lease in leases[:2]:
        assert end(lease, worker) == []
    (following,) = end(leases[2], worker)

    assert following.task == task.pk
    assert end(following, worker) == []
    task.refresh_from_db()
    assert (task.status, task.result) == ("succeeded", 3)


def test_concurrent_ends_take_different_tasks(worker):
    task, leases = begin(worker, 15)

    for _ in range(4):
        leases.extend(lease for found in run_concurrently(3, lambda: end(leases.pop(), worker)) for lease in found)
        assert len({lease.task for lease in leases}) == 3
        assert unfinished(task, "running") == 3
        assert unfinished(task, "queued") == 0

    assert Step.objects.filter(task=task, status="succeeded").count() == 12
    run_concurrently(3, lambda: end(leases.pop(), worker, claims=False))
    assert finish(task).result == sum(range(15))


def test_an_end_under_the_parents_lock_waits_for_the_next_task_that_another_end_has_taken(worker):
    task, (first, second, third) = begin(worker, 5)
    outcome = executed(first, worker)
    passing = OpenTransaction(lambda: settle(first, outcome, claim_request=ClaimRequest(worker.worker)))
    with ThreadPoolExecutor(1) as pool:
        under_lock = pool.submit(run_concurrently, 1, lambda: end(replace(second, parallel_limit=None), worker))
        wait_for_blocked_session()
        passing.end()
        ((fifth,),) = under_lock.result(timeout=90)

    assert fifth.parent_key == "same#5"
    (fourth,) = passing.future.result()
    assert fourth.parent_key == "same#4"
    assert unfinished(task, "running") == 3
    for lease in (third, fourth):
        assert end(lease, worker) == []
    (following,) = end(fifth, worker)
    assert following.task == task.pk


def test_a_locked_task_is_left_to_the_next_end(worker):
    task, (first, *_others) = begin(worker, 6)
    locking = OpenTransaction(lambda: Task.objects.select_for_update().get(parent=task, parent_key="same#4"))

    (following,) = end(first, worker)

    assert following.parent_key == "same#5"
    locking.end()


def test_an_older_task_of_another_pipeline_comes_first(worker):
    task, (first, *_others) = begin(worker, 6)
    other = one_step.using(priority=60).enqueue(1)

    (following,) = end(first, worker)

    assert following.task == other.pk
    assert Task.objects.get(parent=task, status="queued").parent_key == "same#4"


def test_a_worker_that_claims_several_takes_the_next_one_too(worker):
    task, (first, *_others) = begin(worker, 6)
    other = one_step.using(priority=60).enqueue(1)

    following = end(first, worker, most=20)

    assert following[0].task == other.pk
    assert [lease.parent_key for lease in following] == ["", "same#4"]
    assert unfinished(task, "running") == 3


def test_a_paused_pipelines_next_one_is_queued(worker):
    task, (first, *_others) = begin(worker, 6)
    Pipeline.objects.filter(name=NAME).update(paused_at="2026-01-01T00:00Z")

    assert end(first, worker) == []

    assert (unfinished(task, "running"), unfinished(task, "queued")) == (2, 1)


def test_a_lost_lease_passes_no_slot_on(worker):
    task, (first, *_others) = begin(worker, 6)
    with arranging():
        Task.objects.filter(pk=first.task).update(lease=7)

    assert end(first, worker) == []

    assert unfinished(task, "running", "queued") == 3
    assert Step.objects.get(task=task, key="same").status == "waiting"


def test_a_cancelled_parent_gets_no_result(worker):
    task, (first, *_others) = begin(worker, 6)
    control.cancel(task.pk, reason="no")

    assert end(first, worker) == []

    assert not Task.objects.filter(parent=task).exists()
    assert not Step.objects.filter(task=task, status="succeeded").exists()


def test_a_released_one_keeps_its_slot_and_passes_it_on_later(worker):
    task, (first, *_others) = begin(worker, 6)
    settle(first, execute_task(first, activity=worker.activity, stopping=lambda: True), claim_request=None)
    assert unfinished(task, "running", "queued") == 3

    (again,) = claim(ClaimRequest(worker.worker))
    (following,) = end(again, worker)

    assert (again.task, again.number, following.parent_key) == (first.task, 2, "same#4")


def test_the_sizes_of_all_results_are_counted(settings, worker):
    settings.TASKQUEUE = {"TASK_OUTPUT_MAX_BYTES": 48 * 16}

    task, leases = begin(worker, 12)
    while leases and leases[0].parent_key:
        leases.extend(end(leases.pop(0), worker))

    assert set(outputs_of(task)) >= {"same#12"}
    task.refresh_from_db()
    assert task.output_bytes == sum(len(str(number)) for number in range(12))


def test_a_worker_with_prefetched_tasks_goes_on_with_the_limit(worker):
    task, (first, second, _third) = begin(worker, 6)
    one_step.using(priority=60).enqueue(1)

    with costs(statements=1, commits=1):
        (following,) = continued(first, worker)

    assert (following.parent_key, following.number, following.worker) == ("same#4", 1, worker.worker)
    assert claim_columns(following) == claim_columns(second)
    assert unfinished(task, "running") == 3
    assert [lease.parent_key for lease in continued(following, worker)] == ["same#5"]


def goes_on(after: Pace, lease: Lease, *, seconds: float = 0.005) -> bool:
    """Whether the worker goes on with the limit after a parallel step that took so long."""
    after.note(seconds)
    request = after.request_after(lease)
    return request is not None and request.continues


def claim_columns(lease):
    """What two parallel steps of a parent have in common."""
    return replace(lease, task=None, payload="", parent_key=""), lease.queue, lease.pipeline_queue, lease.parallel_limit


@pytest.mark.parametrize("most", [0, 1])
@pytest.mark.parametrize("obstacle", ["paused", "draining"])
def test_a_worker_that_may_not_go_on_queues_the_next_one(worker, most, obstacle):
    task, (first, *_others) = begin(worker, 6)
    if obstacle == "paused":
        Pipeline.objects.filter(name=NAME).update(paused_at="2026-01-01T00:00Z")
    else:
        Worker.objects.filter(pk=worker.worker).update(draining_at="2026-01-01T00:00Z")

    assert continued(first, worker, most=most) == []

    assert (unfinished(task, "running"), unfinished(task, "queued")) == (2, 1)
    assert Task.objects.get(parent=task, status="queued").lease == 0


def test_after_the_last_one_other_tasks_are_claimed(worker):
    task, (first, second, third) = begin(worker, 3)
    other = one_step.enqueue(1)

    assert continued(first, worker) == []
    assert [lease.task for lease in continued(second, worker, most=1)] == [other.pk]
    assert [lease.task for lease in continued(third, worker, most=1)] == [task.pk]


def test_a_fan_out_lets_other_tasks_run_in_between():
    order: list[int | str] = []

    @step
    def note(number: int) -> int:
        if number == 5:
            urgent.using(priority=60).enqueue()
        order.append(number)
        return number

    @pipeline("parallel-slots/urgent")
    def urgent() -> None:
        order.append("urgent")

    @pipeline("parallel-slots/noting")
    def noting() -> int:
        return len(each(note, range(200), limit=4))

    task = finish(noting.enqueue())

    assert task.result == 200
    assert order.index("urgent") - order.index(5) <= pace.MOST_PREFETCHED + 2 * 4
    assert sorted(number for number in order if number != "urgent") == list(range(200))


def test_in_strict_order_no_worker_goes_on(worker):
    _task, (first, *_others) = begin(worker, 6)
    with InProcessWorker(queues="default", strict=True) as strict, taking(strict._taken):
        assert not goes_on(Pace(strict, lambda: True), first)
    assert goes_on(Pace(worker, lambda: True), first)


def test_a_worker_goes_on_as_often_as_it_could_have_claimed_tasks(worker, monkeypatch):
    monkeypatch.setattr(pace, "MOST_PREFETCHED", 3)
    _task, (first, *_others) = begin(worker, 6)
    after = Pace(worker, lambda: True)

    assert [goes_on(after, first) for _ in range(8)] == [True, True, True, False] * 2
    assert not goes_on(after, first, seconds=pace.SHORT)
    assert not goes_on(after, replace(first, parallel_limit=None))


def test_a_worker_that_is_not_needed_does_not_go_on(worker):
    _task, (first, *_others) = begin(worker, 6)
    after = Pace(worker, lambda: False)

    assert [goes_on(after, first, seconds=0.0) for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("kind", ["held", "atomic", "async"])
def test_the_logs_of_a_step_that_passes_its_slot_on_are_kept(kind):
    def body(number: int) -> int:
        logging.getLogger("tests").warning("number %s", number)
        return number

    async def awaited(number: int) -> int:
        return body(number)

    functions: dict[str, Any] = {"held": step(body), "atomic": step.atomic(body), "async": step(awaited)}

    @pipeline("parallel-slots/logging")
    def logged() -> int:
        return sum(each(functions[kind], range(4), limit=2))

    task = finish(logged.enqueue())

    assert task.result == 6
    logs = [str(recorded.logs) for recorded in Step.objects.filter(task=task).order_by("pk")]
    assert [f"number {number}" in text for number, text in enumerate(logs)] == [True] * 4
    assert not Step.objects.exclude(task=task).exists()


def test_failed_attempts_are_kept_with_a_limit():
    failed: list[int] = []

    @step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def flaky(number: int) -> int:
        if number == 1 and not failed:
            failed.append(number)
            raise ValueError("again")
        return number

    @pipeline("parallel-slots/flaky")
    def retried() -> int:
        return sum(each(flaky, range(6), limit=2))

    task = finish(retried.enqueue())

    assert task.result == 15
    assert Attempt.objects.get(task=task).step_key == "flaky#2"
    assert list(Step.objects.filter(task=task).order_by("pk").values_list("failures", flat=True)) == [0, 1, 0, 0, 0, 0]
