"""A task that ends in a limited pipeline passes its slot on to the next one, without the lock of the limit."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Limit, Retry, pipeline
from taskqueue.engine import sql
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Failed, FailedAttempt, Release, RetryLater, Succeeded
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Task
from taskqueue.states import AttemptOutcome
from taskqueue.testing import InProcessWorker, advance
from tests.support.database.backlogs import ENDED, QUEUED, RUNNING, STATISTICS, forget_statistics, insert, unchecked
from tests.support.database.costs import costs
from tests.support.database.plans import explain, sequential_scans
from tests.support.database.races import OpenTransaction, run_concurrently
from tests.support.moves import arranging
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "passed-slots/three"


@pipeline(NAME, concurrency=3, retry=Retry.fixed(timedelta(minutes=1), retries=1))
def three(number: int) -> int:
    return number


@pipeline("passed-slots/keyed", concurrency=Limit(1, key="{number}"))
def keyed(number: int) -> int:
    return number


BROKEN = FailedAttempt(
    key="", name="", outcome=AttemptOutcome.FAILED, error_type="E", message="", traceback="", elapsed=timedelta(0)
)


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def claimed(worker, number=3):
    return [lease for _ in range(number) for lease in claim(ClaimRequest(worker.worker))]


def end(lease, worker, outcome=None):
    return settle(lease, outcome or Succeeded("1"), claim_request=ClaimRequest(worker.worker, most=20))


def slots():
    return Task.objects.filter(slot_pipeline=NAME).count()


def test_an_end_and_the_next_start_are_one_statement(worker):
    for number in range(6):
        three.enqueue(number)
    first, second, _third = claimed(worker)

    with costs(statements=1, commits=1):
        (following,) = end(first, worker)

    assert Task.objects.get(pk=following.task).payload == {"number": 3}
    assert slots() == 3
    (following,) = end(second, worker, Failed("", "E", "no"))
    assert Task.objects.get(pk=following.task).payload == {"number": 4}
    assert slots() == 3


def test_concurrent_ends_take_different_tasks(worker):
    for number in range(20):
        three.enqueue(number)
    leases = claimed(worker)

    for _ in range(4):
        leases.extend(lease for found in run_concurrently(3, lambda: end(leases.pop(), worker)) for lease in found)
        assert len({lease.task for lease in leases}) == 3
        assert slots() == 3

    assert Task.objects.filter(status="succeeded").count() == 12


def test_a_locked_task_is_left_to_another_claim(worker):
    tasks = [three.enqueue(number) for number in range(5)]
    first, *_others = claimed(worker)
    locking = OpenTransaction(lambda: Task.objects.select_for_update().get(pk=tasks[3].pk))

    (following,) = end(first, worker)

    assert following.task == tasks[4].pk
    locking.end()


def test_a_lowered_limit_passes_no_slot_on(worker):
    for number in range(6):
        three.enqueue(number)
    first, second, third = claimed(worker)
    ConcurrencyLimit.objects.update(tasks=2)

    assert end(first, worker) == []
    assert slots() == 2
    assert len(end(second, worker)) == 1
    assert len(end(third, worker)) == 1
    assert slots() == 2


def test_a_raised_limit_is_filled(worker):
    for number in range(9):
        three.enqueue(number)
    first, *_others = claimed(worker)
    ConcurrencyLimit.objects.update(tasks=6)

    assert len(end(first, worker)) == 1
    assert slots() == 3
    assert len(claimed(worker, 4)) == 3
    assert slots() == 6


def test_a_limit_by_key_that_was_added_is_respected(worker):
    for number in range(5):
        three.enqueue(number)
    first, *_others = claimed(worker)
    ConcurrencyLimit.objects.update(tasks_per_key=1)

    assert len(end(first, worker)) == 1
    assert slots() == 3


@pytest.mark.parametrize("outcome", [Release(), RetryLater(BROKEN, timedelta(minutes=1))], ids=["release", "retry"])
def test_a_task_that_has_not_ended_keeps_its_slot(worker, outcome):
    for number in range(5):
        three.enqueue(number)
    first, *_others = claimed(worker)

    assert end(first, worker, outcome) == []

    assert slots() == 3


def test_a_lost_lease_passes_no_slot_on(worker):
    for number in range(5):
        three.enqueue(number)
    first, *_others = claimed(worker)
    with arranging():
        Task.objects.filter(pk=first.task).update(lease=7)

    assert end(first, worker) == []

    assert slots() == 3


def test_several_workers_share_the_slots_of_short_tasks(worker):
    for number in range(12):
        three.enqueue(number)

    with InProcessWorker() as other:
        (first,) = claim(ClaimRequest(worker.worker))
        (first,) = end(first, worker)
        assert len(claimed(other)) == 2

    assert slots() == 3


def test_an_older_task_of_another_pipeline_comes_first(worker):
    for number in range(4):
        three.enqueue(number)
    first, *_others = claimed(worker)
    other = one_step.using(priority=60).enqueue(1)

    (following,) = end(first, worker)

    assert following.task == other.pk
    assert slots() == 2
    assert [lease.pipeline for lease in end(following, worker)] == [NAME]
    assert slots() == 3


def test_a_paused_pipeline_passes_no_slot_on(worker):
    for number in range(4):
        three.enqueue(number)
    first, *_others = claimed(worker)
    Task.objects.get(pk=first.task).pipeline.__class__.objects.filter(name=NAME).update(paused_at="2026-01-01T00:00Z")

    assert end(first, worker) == []


def test_a_task_that_waits_for_the_freed_slot_of_its_key_comes_before_younger_ones(worker):
    first, second = keyed.enqueue(1), keyed.enqueue(1)
    younger = one_step.enqueue(1)
    (lease,) = claimed(worker, 1)
    assert lease.task == first.pk

    (following,) = settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker))

    assert following.task == second.pk
    assert Task.objects.get(pk=younger.pk).status == "queued"
    assert Task.objects.get(pk=second.pk).blocked_seconds is not None


def test_tasks_with_keys_are_admitted_by_turns(worker):
    for number in (1, 1, 2):
        keyed.enqueue(number)
    leases = claimed(worker)
    assert [lease.concurrency_key for lease in leases] == ["1", "2"]

    (following,) = end(leases[0], worker)

    assert following.concurrency_key == "1"


def test_the_time_with_a_free_slot_counts_as_queued(worker):
    for number in range(4):
        three.enqueue(number)
    (first,) = claimed(worker, 1)
    advance(minutes=2)

    (following,) = end(first, worker)

    task = Task.objects.get(pk=following.task)
    assert task.blocked_seconds is None
    assert task.queued_seconds == pytest.approx(120, abs=20)


def test_the_time_before_counts_as_blocked(worker):
    for number in range(4):
        three.enqueue(number)
    first, *_others = claimed(worker)
    advance(minutes=2)

    (following,) = end(first, worker)

    task = Task.objects.get(pk=following.task)
    assert task.blocked_seconds == pytest.approx(120, abs=20)
    assert task.queued_seconds == pytest.approx(0, abs=1)


@pytest.mark.django_db(transaction=False)
@pytest.mark.parametrize("has_statistics", STATISTICS)
def test_an_end_reads_a_bounded_number_of_tasks(worker, has_statistics):
    forget_statistics()
    three.enqueue(0)
    (lease,) = claim(ClaimRequest(worker.worker))
    insert(ENDED, NAME, 10_000, worker=worker.worker)
    insert(QUEUED, NAME, 5_000)
    insert(RUNNING, NAME, 2, worker=worker.worker)
    if has_statistics:
        with unchecked() as cursor:
            cursor.execute("ANALYZE taskqueue_task")
    ended = {"status": "succeeded", "result": "1", "error": None, "code": "", "drift": None}
    values = {**ClaimRequest(worker.worker).parameters, **ended, **lease.fence, "slot_of": NAME}

    tree = explain(sql.with_passed_slot(sql.FINISH), values)

    assert not sequential_scans(tree)
    scans = [node for node in tree if node.get("Relation Name") == "taskqueue_task"]
    read = sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans)
    assert read <= 200
    assert slots() == 3
