"""Limits and rates that an operator changes while tasks wait for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue import Limit, Rate, pipeline, step
from taskqueue.engine.actions import limits
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.worker.settle import settle
from taskqueue.errors import InvalidLimit
from taskqueue.models import ConcurrencyLimit, RateLimit, RateLimitBucket, Step, StepSlot, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.races import wait_for_blocked_session
from tests.support.leases import take
from tests.support.pipelines.basic import one_step
from tests.support.pipelines.rated import one_busy, one_minutely, reload, waits, waits_about
from tests.support.pipelines.step_concurrency import execute, in_the_middle, one_place

HOUR = timedelta(hours=1)


@step
def noted(number: int) -> int:
    return number


@pipeline("limits/throttled", throttle=Rate(1, per=HOUR, name="test/hourly"))
def throttled(number: int) -> int:
    return noted(number)


@step(rate="test/hourly")
def after_start(number: int) -> int:
    return number


@pipeline("limits/stepped")
def stepped(number: int) -> int:
    return after_start(number)


@pipeline("limits/keyed", concurrency=Limit(1, key="{tenant}"))
def keyed(tenant: str) -> str:
    return tenant


def statuses(tasks):
    return [reload(task).status for task in tasks]


@pytest.mark.django_db
def test_a_faster_rate_admits_steps_that_had_later_times():
    tasks = [one_minutely.enqueue(number) for number in range(4)]
    work()
    assert statuses(tasks) == ["succeeded", "waiting", "waiting", "waiting"]

    limits.change_rate_limit("test/minutely", count=None, per=timedelta(milliseconds=1), burst=None)
    assert statuses(tasks) == ["succeeded", "queued", "queued", "queued"]
    work()

    assert set(statuses(tasks)) == {"succeeded"}
    assert RateLimit.objects.get(name="test/minutely").changed_at is not None


@pytest.mark.django_db
def test_a_slower_rate_gives_waiting_steps_later_times():
    tasks = [one_minutely.enqueue(number) for number in range(3)]
    work()

    limits.change_rate_limit("test/minutely", count=None, per=HOUR, burst=None)
    work()

    assert statuses(tasks) == ["succeeded", "succeeded", "waiting"]
    assert waits_about(tasks[2]) == 3600


@pytest.mark.django_db
def test_starts_with_later_times_release_them_and_keep_their_order():
    tasks = [throttled.enqueue(number) for number in range(5)]
    work()
    assert statuses(tasks) == ["succeeded", "waiting", "queued", "queued", "queued"]
    assert reload(tasks[1]).slot_acquired_at is not None

    limits.change_rate_limit("test/hourly", count=None, per=timedelta(minutes=1), burst=2)
    again = reload(tasks[1])
    assert (again.status, again.slot_acquired_at, again.blocked_on) == ("queued", None, "")
    assert ConcurrencyLimit.objects.get(pipeline="limits/throttled").rate_id == "test/hourly"
    work()

    # The burst allows one, the others follow a minute apart. Only the next one has a reservation.
    assert statuses(tasks)[:3] == ["succeeded", "succeeded", "succeeded"]
    assert waits_about(tasks[3]) == 60
    for _ in range(5):
        advance(minutes=1)
        work()
    started = [reload(task).started_at for task in tasks]
    assert started == sorted(started)
    assert set(statuses(tasks)) == {"succeeded"}


@pytest.mark.django_db
def test_a_changed_rate_frees_both_a_start_and_a_step():
    throttled.enqueue(1)
    start, at_step = throttled.enqueue(2), stepped.enqueue(3)
    work()
    assert statuses([start, at_step]) == ["waiting", "waiting"]

    limits.change_rate_limit("test/hourly", count=1000, per=timedelta(seconds=1), burst=10)

    assert reload(start).slot_acquired_at is None
    assert reload(at_step).slot_acquired_at is not None
    work()
    assert statuses([start, at_step]) == ["succeeded", "succeeded"]


@pytest.mark.django_db
def test_an_unblocked_rate_admits_all_again():
    one_busy.enqueue("all")
    other = one_minutely.enqueue(2)
    work()
    advance(minutes=1)
    work()
    assert waits(other) > 3000

    assert limits.unblock_rate("test/minutely", "")
    work()

    assert reload(other).status == "succeeded"
    assert RateLimitBucket.objects.get().blocked_until is None
    assert not limits.unblock_rate("test/minutely", "")


@pytest.mark.django_db
def test_wider_step_and_task_limits_admit_waiting_tasks():
    with InProcessWorker() as worker:
        tasks = [one_place.enqueue(tenant) for tenant in "abc"]
        leases = [take(worker.worker) for _ in tasks]

        def widen():
            execute(leases[1]), execute(leases[2])
            limits.change_concurrency_limit("places/one", {"steps": 2})
            assert statuses(tasks) == ["running", "queued", "waiting"]
            assert StepSlot.objects.count() == 2

        in_the_middle(widen)
        execute(leases[0])


@pytest.mark.django_db
@pytest.mark.parametrize("most", [0, -1, 100_001])
def test_an_invalid_limit_is_refused(most):
    one_step.enqueue(1)

    with pytest.raises(InvalidLimit, match="A limit is 1 to 100,000"):
        limits.change_concurrency_limit("engine/one-step", {"tasks": most})

    assert ConcurrencyLimit.objects.get(pipeline="engine/one-step").tasks is None


@pytest.mark.django_db
def test_a_limit_per_key_needs_a_key():
    one_step.enqueue(1), keyed.enqueue("a")

    with pytest.raises(InvalidLimit, match="no key"):
        limits.change_concurrency_limit("engine/one-step", {"steps_per_key": 2})
    limits.change_concurrency_limit("limits/keyed", {"tasks_per_key": 2})


@pytest.mark.django_db
@pytest.mark.parametrize(
    "numbers",
    [
        {"count": 0, "per": None, "burst": None},
        {"count": None, "per": timedelta(0), "burst": None},
        {"count": None, "per": None, "burst": -1},
        {"count": 1000, "per": timedelta(microseconds=1), "burst": None},
    ],
)
def test_an_invalid_rate_is_refused(numbers):
    one_minutely.enqueue(1)
    work()

    with pytest.raises(InvalidLimit):
        limits.change_rate_limit("test/minutely", **numbers)

    assert RateLimit.objects.get(name="test/minutely").changed_at is None


@pytest.mark.django_db(transaction=True)
def test_a_step_reserves_again_when_the_rate_changed_before_it_waited():
    """The rate changes between the reservation and the settling, when no row shows that the task waits."""
    with InProcessWorker() as worker:
        one_minutely.enqueue(1)
        worker.work()
        task = one_minutely.enqueue(2)
        lease = take(worker.worker)
        outcome = execute_task(lease, activity=Activity(), stopping=lambda: False)
        limits.change_rate_limit("test/minutely", count=None, per=timedelta(milliseconds=1), burst=None)
        settle(lease, outcome, claim_request=None)

        assert reload(task).due_at <= Task.objects.annotate(now=Now()).values_list("now", flat=True)[0]
        worker.work()
        assert reload(task).status == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_no_step_gets_a_time_by_the_old_rate_during_a_change():
    with InProcessWorker() as worker:
        one_minutely.enqueue(1)
        worker.work()
        task = one_minutely.enqueue(2)
        lease = take(worker.worker)

        def ask():
            try:
                return execute(lease)
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                limits.lock("test/minutely")
                asking = pool.submit(ask)
                wait_for_blocked_session()
                assert not Step.objects.filter(task=task).exists()
                limits.change_rate_limit("test/minutely", count=None, per=timedelta(milliseconds=1), burst=None)
            asking.result(timeout=90)
        worker.work()
        assert reload(task).status == "succeeded"
