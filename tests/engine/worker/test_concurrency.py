"""Concurrency limits of tasks are never exceeded and always used, and no key blocks another."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction

from taskqueue import Limit, Permanent, Retry, pipeline, sleep, step
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Release, Succeeded
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Pipeline, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.races import wait_for_blocked_session
from tests.support.pipelines.basic import one_step


@step(retry=Retry.fixed(timedelta(hours=1), retries=3))
def may_fail(tenant: str) -> str:
    if tenant == "broken":
        raise ConnectionError(tenant)
    if tenant == "hopeless":
        raise Permanent(tenant)
    return tenant


@pipeline("gates/three", concurrency=3)
def three(tenant: str) -> str:
    return may_fail(tenant)


@pipeline("gates/per-tenant", concurrency=Limit(2, key="{tenant}"))
def per_tenant(tenant: str) -> str:
    return may_fail(tenant)


@pipeline("gates/both", concurrency=[Limit(3), Limit(2, key="{tenant}")])
def both(tenant: str) -> str:
    return may_fail(tenant)


@pipeline("gates/sleepy", concurrency=1)
def sleepy(tenant: str) -> str:
    sleep("nap", timedelta(hours=1))
    return may_fail(tenant)


def take_all(worker, most=1):
    """Claim until nothing is ready."""
    leases = []
    while taken := claim(ClaimRequest(worker.worker, most)):
        leases += taken
    return leases


def tenants_of(leases):
    return Counter(lease.concurrency_key for lease in leases)


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


@pytest.mark.django_db
@pytest.mark.parametrize("most", [1, 2, 8])
def test_a_pipeline_runs_exactly_as_many_tasks_as_its_limit(worker, most):
    for _ in range(10):
        three.enqueue("a")

    leases = take_all(worker, most)
    assert len(leases) == 3
    assert dispatch.find_due_work(5).claimable == 0

    settle(leases[0], Succeeded("1"), claim_request=None)
    assert dispatch.find_due_work(5).claimable == 1
    assert len(take_all(worker, most)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("most", [1, 8])
def test_each_key_has_its_own_limit_below_the_pipelines(worker, most):
    for tenant in "aaaaabbbbbccccc":
        per_tenant.enqueue(tenant)
        both.enqueue(tenant)

    leases = take_all(worker, most)

    assert tenants_of(lease for lease in leases if lease.pipeline == "gates/per-tenant") == {"a": 2, "b": 2, "c": 2}
    together = tenants_of(lease for lease in leases if lease.pipeline == "gates/both")
    assert together.total() == 3
    assert max(together.values()) <= 2


@pytest.mark.django_db
def test_settle_and_claim_is_one_commit_with_a_limit(worker):
    for _ in range(3):
        three.enqueue("a")
    ConcurrencyLimit.objects.update(tasks=1)
    (lease,) = claim(ClaimRequest(worker.worker))
    assert lease.is_limited

    (following,) = settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker))

    assert following.is_limited
    assert Task.objects.filter(status="running").count() == 1


@pytest.mark.django_db
def test_a_changed_limit_counts_from_the_next_claim(worker):
    for _ in range(10):
        three.enqueue("a")
    assert len(take_all(worker)) == 3

    ConcurrencyLimit.objects.filter(pipeline="gates/three").update(tasks=5)
    assert len(take_all(worker)) == 2
    ConcurrencyLimit.objects.filter(pipeline="gates/three").update(tasks=1)
    assert take_all(worker) == []
    for task in Task.objects.filter(status="running")[:4]:
        control.cancel(task.pk)
    assert take_all(worker) == []
    control.cancel(Task.objects.filter(status="running")[0].pk)
    assert len(take_all(worker)) == 1


@pytest.mark.django_db
def test_new_code_keeps_an_operators_limit():
    three.enqueue("a")
    ConcurrencyLimit.objects.filter(pipeline="gates/three").update(tasks=7)

    sync_pipeline(three.definition)

    concurrency_limit = ConcurrencyLimit.objects.get(pipeline="gates/three")
    assert (concurrency_limit.tasks, concurrency_limit.declared_tasks) == (7, 3)


@pytest.mark.django_db
def test_running_tasks_count_when_a_limit_is_added(worker):
    for number in range(5):
        one_step.enqueue(number)
    claim(ClaimRequest(worker.worker))
    ConcurrencyLimit.objects.filter(pipeline="engine/one-step").update(tasks=2)

    assert len(take_all(worker)) == 1


@pytest.mark.django_db
def test_sleeping_and_retrying_tasks_keep_their_slots(worker):
    first, second = sleepy.enqueue("broken"), sleepy.enqueue("a")
    work()
    assert {task.status for task in Task.objects.filter(pk=first.pk)} == {"waiting"}
    assert take_all(worker) == []

    advance(hours=1)
    work()
    assert Task.objects.get(pk=first.pk).status == "retrying"
    assert Task.objects.get(pk=second.pk).status == "queued"

    control.cancel(first.pk)
    assert len(take_all(worker)) == 1


@pytest.mark.django_db
def test_released_and_lost_tasks_keep_their_slots_and_retried_ones_do_not(worker):
    ConcurrencyLimit.objects.all()
    tasks = [three.enqueue("hopeless") for _ in range(4)]
    ConcurrencyLimit.objects.update(tasks=1)
    (lease,) = take_all(worker)
    settle(lease, Release(), claim_request=None)
    assert Task.objects.get(pk=lease.task).slot_acquired_at is not None
    (again,) = take_all(worker)
    assert again.task == lease.task
    worker.die()
    dispatch.run_due(1)
    with InProcessWorker() as other:
        (recovered,) = take_all(other)
        assert recovered.task == lease.task
        other.leave()

    work()
    assert {task.status for task in Task.objects.all()} == {"failed"}
    control.retry(tasks[0].pk)
    assert Task.objects.get(pk=tasks[0].pk).slot_acquired_at is None


@pytest.mark.django_db
def test_limits_survive_an_emptied_database(worker):
    Pipeline.objects.all().delete()
    for _ in range(5):
        three.enqueue("a")

    assert len(take_all(worker)) == 3


@pytest.mark.django_db
def test_queue_order_holds_across_limited_pipelines(worker):
    limited = three.using(priority=10).enqueue("a")
    free = one_step.using(priority=600).enqueue(1)
    last = one_step.using(priority=-600).enqueue(1)

    assert [lease.task for lease in take_all(worker)] == [free.pk, limited.pk, last.pk]


@pytest.mark.django_db
def test_a_key_with_a_long_queue_does_not_delay_other_keys(worker):
    three_to_start = per_tenant.enqueue("crowd")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, "
            "lease, failures, progress_note, created_at, concurrency_key) "
            "SELECT gen_random_uuid(), 'gates/per-tenant', "
            "'queued', '', '{}', 0, '{\"tenant\": \"crowd\"}', t, t, 0, 0, '', t, 'crowd' "
            "FROM generate_series(1, 20000), (SELECT now() - interval '1 hour' AS t) AS past"
        )
    single = per_tenant.enqueue("single")

    first, second = (claim(ClaimRequest(worker.worker))[0] for _ in range(2))

    assert single.pk in {first.task, second.task}
    # One worker that finishes each task before the next claim serves the keys round robin.
    ConcurrencyLimit.objects.filter(pipeline="gates/per-tenant").update(tasks_per_key=1)
    late = [per_tenant.enqueue("late") for _ in range(3)]
    order: list[str] = []
    leases = [second]
    while leases and len(order) < 8:
        leases = settle(leases[0], Succeeded("1"), claim_request=ClaimRequest(worker.worker))
        order += [lease.concurrency_key for lease in leases]
    assert order.count("late") >= 3, (order, three_to_start, late)


@pytest.mark.django_db
def test_hundreds_of_keys_are_served_round_robin(worker):
    for number in range(150):
        per_tenant.enqueue(f"t{number:03}")
        per_tenant.enqueue(f"t{number:03}")
    ConcurrencyLimit.objects.filter(pipeline="gates/per-tenant").update(tasks_per_key=1)

    assert set(tenants_of(take_all(worker, 8)).values()) == {1}
    assert Task.objects.filter(status="running").count() == 150


@pytest.mark.django_db
def test_many_full_keys_do_not_hide_a_key_with_a_free_slot(worker):
    for number in range(200):
        per_tenant.enqueue(f"t{number:03}")
        per_tenant.enqueue(f"t{number:03}")
    ConcurrencyLimit.objects.filter(pipeline="gates/per-tenant").update(tasks_per_key=1)
    take_all(worker, 8)
    ConcurrencyLimit.objects.filter(pipeline="gates/per-tenant").update(last_served_key="")
    opened = per_tenant.enqueue("zzz")

    leases = []
    for _ in range(10):
        leases = claim(ClaimRequest(worker.worker))
        if leases:
            break
        dispatch.run_due(1)

    assert [lease.task for lease in leases] == [opened.pk]


@pytest.mark.django_db(transaction=True)
def test_concurrent_claims_do_not_exceed_the_limit():
    with InProcessWorker() as worker:
        for _ in range(40):
            both.enqueue("a")
            both.enqueue("b")
        barrier = threading.Barrier(6)

        def claim_and_settle(_number):
            most_seen = 0
            try:
                barrier.wait(timeout=90)
                while leases := claim(ClaimRequest(worker.worker)):
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT count(*) FROM taskqueue_task WHERE status = 'running'")
                        most_seen = max(most_seen, cursor.fetchone()[0])
                    for lease in leases:
                        settle(lease, Succeeded("1"), claim_request=None)
                return most_seen
            finally:
                connection.close()

        with ThreadPoolExecutor(6) as pool:
            seen = list(pool.map(claim_and_settle, range(6)))

    assert max(seen) <= 3
    assert Task.objects.filter(status="succeeded").count() + Task.objects.filter(status="queued").count() == 80


@pytest.mark.django_db(transaction=True)
def test_a_waiting_admission_counts_what_the_previous_one_admitted():
    with InProcessWorker() as worker:
        for _ in range(4):
            three.enqueue("a")
        ConcurrencyLimit.objects.update(tasks=1)

        def second():
            try:
                return claim(ClaimRequest(worker.worker))
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": "gates/three"})
                later = pool.submit(second)
                wait_for_blocked_session()
                assert len(claim(ClaimRequest(worker.worker))) == 1
            assert later.result(timeout=90) == []
