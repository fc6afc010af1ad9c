"""Buckets of keyed rate limits: unused ones are deleted, and deleting them changes no limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from taskqueue import Rate, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.actions import limits
from taskqueue.engine.execution.rate_limits import SHORT_WAIT
from taskqueue.engine.maintenance import retention
from taskqueue.models import RateLimit, RateLimitBucket, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.backlogs import STATISTICS, forget_statistics, unchecked
from tests.support.database.plans import explain, rows_read
from tests.support.database.races import OpenTransaction, wait_for_blocked_session
from tests.support.leases import take

MINUTE = timedelta(minutes=1)
NAME = "records/calls"


@step(rate=Rate(1, per=MINUTE, key="{order}", name=NAME))
def call(order: str) -> str:
    return order


@pipeline("records/steps")
def steps(order: str) -> str:
    return call(order)


@pipeline("records/starts", throttle=Rate(1, per=MINUTE, key="{order}", name="records/starts"))
def starts(order: str) -> str:
    return order


@pipeline("records/whole", throttle=Rate(1, per=MINUTE, name="records/whole"))
def whole() -> None:
    """One rate limit with one bucket."""


def keys(rate: str = NAME) -> list[str]:
    return list(RateLimitBucket.objects.filter(rate=rate).order_by("key").values_list("key", flat=True))


@pytest.mark.django_db
def test_the_bucket_of_a_key_unused_for_a_day_is_deleted():
    for number in range(3):
        steps.enqueue(f"order {number}")
        starts.enqueue(f"order {number}")
    whole.enqueue()
    work()
    advance(days=2)
    steps.enqueue("order 1")
    work()

    call_command("prune")

    assert keys() == ["order 1"]
    assert keys("records/starts") == []
    assert keys("records/whole") == [""]


@pytest.mark.django_db
def test_workers_prune_buckets_in_small_batches():
    rate = RateLimit.objects.get(pk=NAME)
    RateLimitBucket.objects.bulk_create(
        RateLimitBucket(rate=rate, key=str(number), theoretical_arrival_at=Now() - timedelta(days=2))
        for number in range(450)
    )
    first = retention.prune_buckets()
    assert (first.rows, first.is_last) == (200, False)

    second = retention.prune_buckets(first.after)
    third = retention.prune_buckets(second.after)

    assert (second.rows, third.rows, third.is_last) == (200, 50, True)
    assert keys() == []


@pytest.mark.django_db
def test_deleting_a_bucket_does_not_change_what_the_rate_allows():
    for order in ("kept", "pruned"):
        steps.enqueue(order)
    work()
    RateLimitBucket.objects.filter(key="kept").update(blocked_until=None)
    advance(days=2)
    RateLimitBucket.objects.filter(key="pruned").delete()

    for order in ("kept", "pruned"):
        for _ in range(3):
            steps.enqueue(order)
    work()

    waits: dict[str, list[int]] = {"kept": [], "pruned": []}
    for task in Task.objects.filter(status="waiting").order_by("due_at"):
        waits[task.payload["order"]].append(round((task.due_at - task.created_at).total_seconds() / 60))
    assert waits == {"kept": [1, 2], "pruned": [1, 2]}
    uses = {use.key: use for use in RateLimitBucket.objects.filter(rate=NAME)}
    assert abs(uses["kept"].theoretical_arrival_at - uses["pruned"].theoretical_arrival_at) < timedelta(seconds=30)
    assert abs(uses["kept"].passes_at - uses["pruned"].passes_at) < timedelta(seconds=30)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "needed",
    [
        {"theoretical_arrival_at": Now() - timedelta(hours=23)},
        {"passes_at": Now() - timedelta(hours=23)},
        {"blocked_until": Now() - timedelta(hours=23)},
        {"blocked_until": Now() + timedelta(hours=1), "block_reason": "429"},
    ],
    ids=["reserved", "passed", "was blocked", "is blocked"],
)
def test_a_bucket_stays_for_a_day_after_its_last_time(needed):
    long_ago = {"theoretical_arrival_at": Now() - timedelta(days=9)}
    use = RateLimitBucket.objects.create(rate_id=NAME, key="order 1", **{**long_ago, **needed})

    retention.prune_buckets()
    assert keys() == ["order 1"]

    RateLimitBucket.objects.filter(pk=use.pk).update(
        **{name: F(name) - timedelta(days=2) for name in needed if name != "block_reason"}
    )
    retention.prune_buckets()
    assert keys() == []


@pytest.mark.django_db
def test_a_bucket_stays_while_an_old_block_still_limits_the_burst():
    RateLimit.objects.filter(pk=NAME).update(per=timedelta(days=10), count=10, burst=10)
    RateLimitBucket.objects.create(
        rate_id=NAME,
        key="order 1",
        theoretical_arrival_at=Now() - timedelta(days=9),
        blocked_until=Now() - timedelta(days=5),
    )

    retention.prune_buckets()

    assert keys() == ["order 1"]


@pytest.mark.django_db
def test_a_late_start_with_a_reserved_time_keeps_its_bucket():
    for _ in range(2):
        starts.enqueue("order 1")
    work()
    late = Task.objects.get(status="waiting")
    advance(days=3)

    retention.prune_buckets()
    assert keys("records/starts") == ["order 1"]
    work()

    late.refresh_from_db()
    assert (late.status, late.blocked_on) == ("succeeded", "")
    use = RateLimitBucket.objects.get(rate="records/starts")
    assert use.passes_at > late.started_at


@pytest.mark.django_db
def test_a_step_whose_bucket_was_deleted_gets_another_time():
    for _ in range(3):
        steps.enqueue("order 1")
    work()
    advance(days=3)
    retention.prune_buckets()
    assert keys() == []

    work()

    assert sorted(Task.objects.values_list("status", flat=True)) == ["succeeded", "succeeded", "waiting"]


def reserve(worker: InProcessWorker) -> list[tuple[object, ...]]:
    """Reserve a time as the first call of a step does, under a new lease."""
    lease = take(worker.row.pk)
    values = {"rate": NAME, "use": "order 1", "key": "call", "name": "call", "input": "{}", "input_hash": ""}
    return sql.fetch(sql.RESERVE_STEP, {**values, **lease.fence, "brief": SHORT_WAIT})


@pytest.mark.django_db(transaction=True)
def test_a_call_during_its_buckets_deletion_creates_a_new_one():
    RateLimitBucket.objects.create(rate_id=NAME, key="order 1", theoretical_arrival_at=Now() - timedelta(days=2))
    steps.enqueue("order 1")

    def ask() -> list[tuple[object, ...]]:
        try:
            with InProcessWorker() as worker:
                return reserve(worker)
        finally:
            connection.close()

    pruner = OpenTransaction(retention.prune_buckets)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        wait_for_blocked_session()
        assert pruner.end().rows == 1
        ((allowed_at, now, *_rest),) = asking.result(timeout=90)

    assert allowed_at <= now
    use = RateLimitBucket.objects.get(rate=NAME)
    assert (use.admitted, use.theoretical_arrival_at > now) == (1, True)


@pytest.mark.django_db(transaction=True)
def test_pruning_skips_a_locked_bucket():
    RateLimitBucket.objects.create(rate_id=NAME, key="order 1", theoretical_arrival_at=Now() - timedelta(days=2))
    steps.enqueue("order 1")

    with InProcessWorker() as worker:
        caller = OpenTransaction(lambda: reserve(worker))
        with transaction.atomic():
            assert retention.prune_buckets().rows == 0
        caller.end()

    assert retention.prune_buckets().rows == 0
    assert keys() == ["order 1"]


@pytest.mark.django_db
def test_a_rate_can_change_while_its_bucket_is_deleted():
    steps.enqueue("order 1")
    work()
    advance(days=2)
    retention.prune_buckets()

    limits.change_rate_limit(NAME, count=2, per=MINUTE, burst=None)
    limits.block_rate(NAME, "order 1", delay=MINUTE, reason="maintenance")
    steps.enqueue("order 1")
    work()

    assert Task.objects.filter(status="waiting").count() == 1


MANY_USES = """
INSERT INTO taskqueue_ratelimitbucket (rate_id, key, theoretical_arrival_at, admitted, block_reason)
SELECT 'records/starts', 'order ' || n, now() - interval '2 days', 1, '' FROM generate_series(1, 20000) n
"""
MANY_PLACES = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, lease, failures,
    progress_note, created_at, slot_acquired_at, due_at, sort_at, "concurrency_key", blocked_on)
SELECT gen_random_uuid(), 'records/starts', 'waiting', '', '{}', 0, '{}', 1, 0, '', now(), now(), now(), now(),
    'order ' || n, 'records/starts'
FROM generate_series(1, 5000) n
"""


@pytest.mark.django_db
@pytest.mark.parametrize("counted", STATISTICS)
def test_a_pruning_batch_reads_no_more_than_its_limit(counted):
    forget_statistics()
    with unchecked() as cursor:
        cursor.execute(MANY_USES)
        cursor.execute(MANY_PLACES)
        if counted:
            cursor.execute("ANALYZE taskqueue_ratelimitbucket, taskqueue_task")

    sql.fetch(sql.AVOID_SORTING, {})
    tree = explain(sql.PRUNE_BUCKETS, {"after": 0})

    assert rows_read(tree, "taskqueue_ratelimitbucket") <= 3 * sql.PRUNE_SCAN_LIMIT
    assert rows_read(tree, "taskqueue_task") <= sql.PRUNE_SCAN_LIMIT
