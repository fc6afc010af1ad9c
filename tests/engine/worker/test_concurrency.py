"""Limits of whole tasks: never exceeded, always used, and no key stands in another one's way."""

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
from taskqueue.engine.runtime.outcomes import Release, Succeeded
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Pipeline, Task
from taskqueue.testing import InProcessWorker, advance, work
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
    """Claim until there is nothing."""
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
def test_a_pipeline_has_no_more_tasks_at_a_time_than_its_limit_and_as_many(worker, most):
    for _ in range(10):
        three.enqueue("a")

    leases = take_all(worker, most)
    assert len(leases) == 3
    assert dispatch.look(5).claimable == 0

    settle(leases[0], Succeeded("1"), claim_request=None)
    assert dispatch.look(5).claimable == 1
    assert len(take_all(worker, most)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("most", [1, 8])
def test_each_key_has_a_limit_of_its_own_and_all_together_one(worker, most):
    for tenant in "aaaaabbbbbccccc":
        per_tenant.enqueue(tenant)
        both.enqueue(tenant)

    leases = take_all(worker, most)

    assert tenants_of(lease for lease in leases if lease.pipeline == "gates/per-tenant") == {"a": 2, "b": 2, "c": 2}
    together = tenants_of(lease for lease in leases if lease.pipeline == "gates/both")
    assert together.total() == 3
    assert max(together.values()) <= 2


@pytest.mark.django_db
def test_finishing_one_and_claiming_the_next_is_one_commit_before_a_gate_too(worker):
    for _ in range(3):
        three.enqueue("a")
    ConcurrencyLimit.objects.update(tasks=1)
    (lease,) = claim(ClaimRequest(worker.worker))
    assert lease.is_limited

    (following,) = settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker))

    assert following.is_limited
    assert Task.objects.filter(status="running").count() == 1


@pytest.mark.django_db
def test_a_changed_limit_holds_from_the_next_claim_on(worker):
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
def test_what_the_code_says_anew_does_not_undo_what_a_person_said():
    three.enqueue("a")
    ConcurrencyLimit.objects.filter(pipeline="gates/three").update(tasks=7)

    sync_pipeline(three.definition)

    concurrency_limit = ConcurrencyLimit.objects.get(pipeline="gates/three")
    assert (concurrency_limit.tasks, concurrency_limit.declared_tasks) == (7, 3)


@pytest.mark.django_db
def test_any_pipeline_can_be_limited_and_those_that_run_already_count(worker):
    for number in range(5):
        one_step.enqueue(number)
    claim(ClaimRequest(worker.worker))
    ConcurrencyLimit.objects.filter(pipeline="engine/one-step").update(tasks=2)

    assert len(take_all(worker)) == 1


@pytest.mark.django_db
def test_a_sleeping_and_a_retrying_task_keep_their_place(worker):
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
def test_a_task_that_was_put_back_or_lost_keeps_its_place_and_a_retried_one_stands_before_the_gate_again(worker):
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
def test_an_emptied_database_does_not_forget_the_limits(worker):
    Pipeline.objects.all().delete()
    for _ in range(5):
        three.enqueue("a")

    assert len(take_all(worker)) == 3


@pytest.mark.django_db
def test_a_better_place_in_the_queue_comes_first_on_either_side_of_a_gate(worker):
    limited = three.using(priority=10).enqueue("a")
    free = one_step.using(priority=600).enqueue(1)
    last = one_step.using(priority=-600).enqueue(1)

    assert [lease.task for lease in take_all(worker)] == [free.pk, limited.pk, last.pk]


@pytest.mark.django_db
def test_a_key_with_a_long_queue_does_not_keep_another_keys_task_waiting(worker):
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
    # And so it goes on, with one worker that finishes each before the next: they take turns.
    ConcurrencyLimit.objects.filter(pipeline="gates/per-tenant").update(tasks_per_key=1)
    late = [per_tenant.enqueue("late") for _ in range(3)]
    order: list[str] = []
    leases = [second]
    while leases and len(order) < 8:
        leases = settle(leases[0], Succeeded("1"), claim_request=ClaimRequest(worker.worker))
        order += [lease.concurrency_key for lease in leases]
    assert order.count("late") >= 3, (order, three_to_start, late)


@pytest.mark.django_db
def test_hundreds_of_keys_take_turns(worker):
    for number in range(150):
        per_tenant.enqueue(f"t{number:03}")
        per_tenant.enqueue(f"t{number:03}")
    ConcurrencyLimit.objects.filter(pipeline="gates/per-tenant").update(tasks_per_key=1)

    assert set(tenants_of(take_all(worker, 8)).values()) == {1}
    assert Task.objects.filter(status="running").count() == 150


@pytest.mark.django_db
def test_many_full_keys_do_not_hide_one_that_has_room(worker):
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
def test_workers_that_claim_at_once_do_not_pass_the_limit_together():
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
def test_who_waits_for_the_gate_counts_what_the_one_before_admitted():
    with InProcessWorker() as worker:
        for _ in range(4):
            three.enqueue("a")
        ConcurrencyLimit.objects.update(tasks=1)
        locked, admitted = threading.Event(), threading.Event()

        def second():
            try:
                locked.wait(timeout=90)
                admitted.set()
                return claim(ClaimRequest(worker.worker))
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": "gates/three"})
                locked.set()
                later = pool.submit(second)
                admitted.wait(timeout=90)
                assert len(claim(ClaimRequest(worker.worker))) == 1
            assert later.result(timeout=90) == []
