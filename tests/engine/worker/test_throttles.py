"""Throttles are never exceeded, lose no task, and tell until when a task waits."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from taskqueue import Rate, RetryAfter, gather, pipeline, step
from taskqueue.engine.actions import limits
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.tasks import control
from taskqueue.models import RateLimitBucket, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.leases import take
from tests.support.pipelines.rated import now, reload, waits, waits_about

pytestmark = pytest.mark.django_db

SECONDS = timedelta(seconds=10)


@step
def done(number: int) -> int:
    return number


@pipeline("throttles/even", throttle=Rate(4, per=SECONDS))
def even(number: int) -> int:
    return done(number)


@pipeline("throttles/burst", throttle=Rate(5, per=SECONDS, burst=5))
def burst(number: int) -> int:
    return done(number)


@pipeline("throttles/keyed", throttle=Rate(1, per=SECONDS, key="{tenant}"))
def keyed(tenant: str) -> str:
    return tenant


@step(rate="throttles/shared")
def paid(number: int) -> int:
    if number == 429:
        raise RetryAfter(timedelta(minutes=10), "slow down")
    return number


@pipeline("throttles/start", throttle=Rate(1, per=SECONDS, name="throttles/shared"))
def start(number: int) -> int:
    return done(number)


@pipeline("throttles/step")
def at_step(number: int) -> int:
    return paid(number)


def run_out(seconds=2.5, rounds=40):
    """Work step by step in time until all tasks have ended."""
    for _ in range(rounds):
        work()
        if not Task.objects.exclude(status="succeeded").exists():
            return
        advance(seconds=seconds)
    raise AssertionError(list(Task.objects.values_list("status", "due_at", "blocked_on")))


def most_in_a_window(times, length):
    """The maximum number of starts in a window of this length."""
    times = sorted(times)
    return max(sum(first <= each < first + length for each in times) for first in times)


@pytest.mark.parametrize(("throttled", "most"), [(even, 4), (burst, 9)])
def test_no_window_exceeds_the_rate_and_starts_keep_queue_order(throttled, most):
    tasks = [throttled.enqueue(number) for number in range(20)]

    work()
    held_back = Task.objects.filter(status="waiting")
    assert list(held_back.order_by("due_at", "pk")) == list(held_back.order_by("pk"))
    run_out(2.5)

    assert most_in_a_window(Task.objects.values_list("started_at", flat=True), SECONDS) <= most
    assert {reload(task).result for task in tasks} == set(range(20))


@pytest.mark.parametrize(
    ("throttled", "most", "seconds"),
    [
        (burst, 9, 26),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((even, 4, 26), (even, 4, 0.7), (burst, 9, 0.7))),
    ],
)
def test_no_window_exceeds_the_rate_with_late_workers(throttled, most, seconds):
    for number in range(20):
        throttled.enqueue(number)

    run_out(seconds, rounds=200)

    assert most_in_a_window(Task.objects.values_list("started_at", flat=True), SECONDS) <= most


def test_evenly_spaced_starts_are_never_closer_than_the_interval():
    for number in range(10):
        even.enqueue(number)

    run_out()

    started = list(Task.objects.order_by("started_at").values_list("started_at", flat=True))
    assert min(second - first for first, second in pairwise(started)) >= timedelta(seconds=2.5)


def test_a_blocked_start_waits_for_its_time_and_names_the_rate():
    even.enqueue(1)
    task = even.enqueue(2)
    work()

    assert 0 <= waits(task) <= 3
    snapshot = status_of(task.pk)
    assert (snapshot.waiting_for, snapshot.started_at) == ("its start at rate throttles/even", None)
    assert snapshot.next_run_at == reload(task).due_at


def test_each_key_has_its_own_throttle():
    tasks = [keyed.enqueue(tenant) for tenant in "aabbc"]
    work()

    assert [reload(task).status for task in tasks] == ["succeeded", "waiting"] * 2 + ["succeeded"]
    assert set(RateLimitBucket.objects.values_list("key", flat=True)) == {"a", "b", "c"}


def test_starts_and_steps_share_a_rate_by_its_name():
    first, second, third = start.enqueue(1), at_step.enqueue(2), start.enqueue(3)
    work()

    assert reload(first).status == "succeeded"
    assert sorted([waits_about(second), waits_about(third)]) == [10, 20]
    run_out()
    passed = [
        Task.objects.get(pk=first.pk).started_at,
        reload(second).steps.get().started_at,
        Task.objects.get(pk=third.pk).started_at,
    ]
    assert min(later - earlier for earlier, later in pairwise(sorted(passed))) >= SECONDS - timedelta(seconds=0.5)


def test_retry_after_in_a_step_blocks_starts():
    blocking = at_step.enqueue(429)
    work()
    assert reload(blocking).status == "retrying"

    task = start.enqueue(1)
    work()

    assert reload(task).status in {"queued", "waiting"}
    advance(minutes=5)
    work()
    assert reload(task).started_at is None
    advance(minutes=5)
    work()
    assert reload(task).status == "succeeded"


def test_a_reserved_start_waits_for_the_end_of_a_block():
    start.enqueue(0)
    work()
    blocking = at_step.enqueue(429)
    work()
    task = start.enqueue(1)
    work()
    assert [waits_about(blocking), waits_about(task)] == [10, 20]
    advance(seconds=10)
    work()

    advance(seconds=10)
    work()

    assert reload(task).started_at is None
    advance(minutes=10)
    work()
    assert reload(task).status == "succeeded"


def test_late_starts_keep_the_rate():
    tasks = [even.enqueue(number) for number in range(10)]
    work()
    advance(hours=1)  # all workers were busy

    work()

    assert [reload(task).status for task in tasks].count("succeeded") == 2
    assert waits(tasks[2]) <= 3
    assert reload(tasks[3]).due_at - reload(tasks[2]).due_at == timedelta(seconds=2.5)
    assert reload(tasks[3]).started_at is None


def test_a_retried_task_is_throttled_again():
    task, other = even.enqueue(1), even.enqueue(2)
    work()
    control.cancel(other.pk)
    control.retry(other.pk)
    work()

    assert reload(task).status == "succeeded"
    assert reload(other).due_at > now()
    run_out()


@pipeline("throttles/crawl", throttle=Rate(4, per=SECONDS))
def crawl(number: int) -> int:
    return done(number) + sum(gather(*(crawl.defer(0) for _ in range(number))))


@pipeline("throttles/crawl-alone", concurrency=1, throttle=Rate(2, per=SECONDS, burst=2))
def crawl_alone(number: int) -> int:
    return done(number) + sum(gather(*(crawl_alone.defer(0) for _ in range(number))))


@pytest.mark.parametrize(
    ("recursive", "most", "seconds"),
    [
        (crawl, 4, 2.5),
        (crawl_alone, 3, 26),
        pytest.param(crawl, 4, 26, marks=pytest.mark.slow),
        pytest.param(crawl_alone, 3, 2.5, marks=pytest.mark.slow),
    ],
)
def test_children_in_their_parents_slot_are_throttled(recursive, most, seconds):
    task, others = recursive.enqueue(9), [recursive.enqueue(0) for _ in range(3)]
    work()

    run_out(seconds, rounds=200)

    assert reload(task).result == 9
    assert {reload(other).result for other in others} == {0}
    started = list(Task.objects.values_list("started_at", flat=True))
    assert len(started) == 13
    assert most_in_a_window(started, SECONDS) <= most


def spaces(waiting):
    """The intervals between consecutive starts."""
    return [later - earlier for earlier, later in pairwise(waiting.values_list("due_at", flat=True))]


@pytest.mark.parametrize("recursive", [crawl, crawl_alone])
def test_such_children_reserve_again_when_the_rate_changes(recursive):
    task = recursive.enqueue(5)
    work()
    below = Task.objects.filter(parent=task)
    waiting = below.filter(status="waiting").order_by("due_at")
    gap = SECONDS / recursive.definition.policies.throttle.count
    before = spaces(waiting)
    assert before == [gap] * len(before)
    assert len(before) >= 2

    limits.change_rate_limit(recursive.definition.throttle_name, count=1, per=timedelta(minutes=1), burst=1)
    work()

    # By the new numbers the next start may come at once.
    assert spaces(waiting) == [timedelta(minutes=1)] * (len(before) - 1)
    assert below.filter(slot_acquired_at=None).count() == 0
    run_out(60)
    assert reload(task).status == "succeeded"
    assert RateLimitBucket.objects.get().admitted == 6


def test_a_child_whose_worker_died_before_its_start_counts_once():
    task = crawl.enqueue(1)
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        child = Task.objects.get(parent=task)
        take(worker.row.pk)
        worker.die()

    run_out()

    assert RateLimitBucket.objects.get().admitted == 2
    assert reload(child).lease > 1
