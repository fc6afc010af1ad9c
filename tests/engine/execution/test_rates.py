"""Rate limits of steps: each call reserves a time that counts for all workers, and waits for it without a worker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from taskqueue import Rate, Retry, RetryAfter, pipeline, step
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.runtime.outcomes import Release
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, RateLimit, RateLimitBucket, Step, Task
from taskqueue.testing import advance, work
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import note
from tests.support.pipelines.rated import (
    MINUTE,
    now,
    one_busy,
    one_keyed,
    one_minutely,
    one_shares,
    reload,
    waits_about,
)

pytestmark = pytest.mark.django_db


@step(rate="test/minutely")
async def concurrent(number: int) -> int:
    note(f"concurrent {number}")
    return number


@pipeline("rates/gathered")
async def gathered(number: int) -> list[int]:
    return list(await asyncio.gather(*(concurrent(each) for each in range(number))))


def test_the_second_call_waits_without_a_worker_and_pays_once():
    first, second, third = one_minutely.enqueue(1), one_shares.enqueue(2), one_minutely.enqueue(3)
    work()

    assert reload(first).status == "succeeded"
    assert [waits_about(second), waits_about(third)] == [60, 120]
    assert reload(second).blocked_on == "test/minutely"
    assert (Step.objects.get(task=second).status, Step.objects.get(task=second).kind) == ("waiting", "step")
    assert pipelines.calls == ["minutely"]
    advance(seconds=50)
    assert work() == []

    advance(seconds=10)
    work()
    assert reload(second).result == 2
    assert waits_about(third) == 60
    advance(seconds=60)
    work()
    assert reload(third).status == "succeeded"
    use = RateLimitBucket.objects.get(rate="test/minutely", key="")
    assert use.admitted == 3
    assert pipelines.calls == ["minutely", "shares", "minutely"]


def test_a_task_blocked_by_a_rate_names_the_rate():
    one_minutely.enqueue(1), one_minutely.enqueue(2)
    work()

    snapshot = status_of(Task.objects.get(status="waiting").pk)

    assert snapshot.waiting_for == "its call at rate test/minutely"
    assert snapshot.next_run_at is not None
    assert snapshot.current_step == "minutely"


def test_each_key_has_its_own_rate_and_burst():
    tasks = [one_keyed.enqueue(tenant) for tenant in "aaabbb"]
    work()

    assert [reload(task).status for task in tasks] == ["succeeded", "succeeded", "waiting"] * 2
    assert {use.key: use.admitted for use in RateLimitBucket.objects.filter(rate="test/keyed")} == {"a": 2, "b": 2}


def test_each_retry_uses_the_rate_again():
    pipelines.broken["minutely"] = 1
    task = one_minutely.enqueue(1)
    work()
    assert reload(task).status == "retrying"

    advance(seconds=10)
    work()

    assert waits_about(task) == 50
    assert Step.objects.get(task=task).failures == 1
    advance(seconds=58)
    work()
    assert reload(task).status == "succeeded"


def test_concurrent_steps_get_times_and_the_task_continues_at_the_earliest():
    task = gathered.enqueue(3)
    work()

    assert Step.objects.filter(task=task, status="succeeded").count() == 1
    assert Step.objects.filter(task=task, status="waiting").count() == 2
    assert waits_about(task) == 60
    for _ in range(2):
        advance(seconds=60)
        work()
    assert reload(task).result == [0, 1, 2]
    assert RateLimitBucket.objects.get(rate="test/minutely").admitted == 3


def test_a_reserved_time_survives_a_worker_lost_before_it_settles():
    one_minutely.enqueue(1)
    task = one_minutely.enqueue(2)
    work()
    until = Step.objects.get(task=task).until
    Task.objects.filter(pk=task.pk).update(status="queued", due_at=Now(), sort_at=Now())

    work()

    assert (reload(task).status, reload(task).due_at) == ("waiting", until)
    assert RateLimitBucket.objects.get(rate="test/minutely").theoretical_arrival_at - until == MINUTE


def test_a_late_step_does_not_run_together_with_the_next():
    tasks = [one_minutely.enqueue(number) for number in range(6)]
    work()
    advance(hours=1)  # all workers were busy for an hour

    work()

    assert [reload(task).status for task in tasks].count("succeeded") == 2
    assert sorted(waits_about(task) for task in tasks[2:]) == [60, 120, 180, 240]
    for _ in range(4):
        advance(seconds=60)
        work()
    assert {reload(task).status for task in tasks} == {"succeeded"}


def test_retry_after_blocks_the_rate_for_all_its_users():
    one_shares.enqueue(0)
    work()
    blocking = one_busy.enqueue("all")
    other = one_minutely.enqueue(2)
    work()
    assert [waits_about(blocking), waits_about(other)] == [60, 120]
    advance(seconds=60)
    work()
    assert (reload(blocking).status, waits_about(other)) == ("retrying", 60)
    assert Attempt.objects.get().error_type == "RetryAfter"

    advance(seconds=60)
    work()

    assert waits_about(other) == 3540
    use = RateLimitBucket.objects.get(rate="test/minutely")
    assert use.block_reason == "busy: 429"
    assert (use.blocked_until - now()).total_seconds() == pytest.approx(3540, abs=5)
    advance(seconds=3540)
    work()
    advance(seconds=60)
    work()
    assert {reload(task).status for task in (blocking, other)} == {"succeeded"}


@step(rate="test/minutely", retry=Retry.never())
def told_too_late() -> None:
    control.cancel(Task.objects.get(pipeline="rates/retry-after-too-late").pk)
    raise RetryAfter(timedelta(hours=1), "429")


@pipeline("rates/retry-after-too-late")
def told_late() -> None:
    told_too_late()


def test_a_worker_without_its_lease_blocks_no_rate():
    told_late.enqueue()
    assert work() == [Release()]

    assert RateLimitBucket.objects.get().blocked_until is None
    task = one_shares.enqueue(2)
    advance(minutes=1)
    work()
    assert reload(task).status == "succeeded"


def test_retry_after_without_hold_blocks_no_other_task():
    blocking = one_busy.enqueue("me")
    work()
    other = one_shares.enqueue(2)
    work()
    assert waits_about(other) == 60

    advance(seconds=60)
    work()

    assert reload(other).status == "succeeded"
    assert reload(blocking).status == "retrying"
    assert RateLimitBucket.objects.get().blocked_until is None


def test_the_rate_is_restored_in_an_emptied_database():
    RateLimit.objects.all().delete()
    one_minutely.enqueue(1), one_minutely.enqueue(2)

    work()

    assert Task.objects.filter(status="waiting").count() == 1
    row = RateLimit.objects.get(name="test/minutely")
    assert (row.declared_count, row.declared_per) == (1, MINUTE)


def test_a_short_wait_for_a_rate_happens_in_the_worker():
    @step(rate=Rate(200, per=timedelta(seconds=1), name="test/fast"))
    def fast(number: int) -> int:
        return number

    @pipeline("rates/fast")
    def many() -> int:
        return sum(fast(number) for number in range(20))

    task = many.enqueue()
    work()

    assert reload(task).status == "succeeded"
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(started_at) - min(started_at) FROM taskqueue_step")
        assert cursor.fetchone()[0] >= timedelta(milliseconds=19 * 5 - 2)
