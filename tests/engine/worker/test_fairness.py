"""Concurrency keys are served round robin: a long queue of one key does not delay another key."""

from __future__ import annotations

from itertools import chain

import pytest
from django.db import connection

from taskqueue import Limit, pipeline
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.backlogs import QUEUED, RUNNING, insert
from tests.support.database.races import run_concurrently
from tests.support.moves import arranging

NAME = "fairness/per-tenant"


@pipeline(NAME, concurrency=Limit(1, key="{tenant}"))
def per_tenant(tenant: str) -> str:
    return tenant


@pytest.fixture
def worker(db):
    """A worker, with the pipeline and its limits in the database."""
    with InProcessWorker() as worker:
        Task.objects.filter(pk=per_tenant.enqueue("first").pk).delete()
        yield worker.worker


def keys_of(leases):
    return [lease.concurrency_key for lease in leases]


def version_of_limit():
    """The physical position of the limit's row, which changes with each write."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT ctid FROM taskqueue_concurrencylimit WHERE pipeline_id = %s", [NAME])
        return cursor.fetchone()


def fill(worker, keys):
    """Create keys that are full and have one queued task each."""
    insert(RUNNING, NAME, keys, keys=keys, worker=worker)
    insert(QUEUED, NAME, keys, keys=keys, payload='{"tenant": "x"}')


@pytest.mark.parametrize(
    ("single", "most"),
    [
        ("aaa", 8),
        ("zzz", 1),
        pytest.param("aaa", 1, marks=pytest.mark.slow),
        pytest.param("zzz", 8, marks=pytest.mark.slow),
    ],
)
def test_a_key_with_one_task_starts_soon_next_to_a_huge_key(worker, single, most):
    insert(QUEUED, NAME, 20_000, keys=1, payload='{"tenant": "crowd"}')
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks_per_key=50)
    claim(ClaimRequest(worker, most))
    task = per_tenant.enqueue(single)

    leases = claim(ClaimRequest(worker, most)) + claim(ClaimRequest(worker, most))

    assert task.pk in {lease.task for lease in leases}


@pytest.mark.django_db(transaction=True)
def test_it_starts_as_soon_with_several_workers(worker):
    insert(QUEUED, NAME, 5_000, keys=1, payload='{"tenant": "crowd"}')
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks_per_key=50)
    claim(ClaimRequest(worker))
    task = per_tenant.enqueue("single")

    leases = list(chain(*run_concurrently(4, lambda: claim(ClaimRequest(worker)))))

    assert len(leases) == 4
    assert task.pk in {lease.task for lease in leases}


def test_keys_are_served_round_robin(worker):
    for tenant in ("crowd", "one", "two"):
        for _ in range(4):
            per_tenant.enqueue(tenant)
    (lease,) = claim(ClaimRequest(worker))
    order = [lease.concurrency_key]
    while following := settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker)):
        (lease,) = following
        order.append(lease.concurrency_key)

    assert len(order) == 12
    assert all(set(order[at : at + 3]) == {"crowd", "one", "two"} for at in range(0, 12, 3)), order


def test_tasks_without_a_key_are_served_too(worker):
    insert(QUEUED, NAME, 3, keys=0, payload='{"tenant": "x"}')
    insert(QUEUED, NAME, 300, keys=3, payload='{"tenant": "x"}')

    keys = [lease.concurrency_key for _ in range(4) for lease in claim(ClaimRequest(worker))]

    assert sorted(keys) == ["", "key 00000", "key 00001", "key 00002"]


def test_a_thousand_full_keys_do_not_hide_an_open_one(worker):
    fill(worker, 1_000)
    opened = per_tenant.enqueue("zzz")
    assert claim(ClaimRequest(worker)) == []

    assert dispatch.run_due(1).claimable
    (lease,) = claim(ClaimRequest(worker))

    assert lease.task == opened.pk


def test_an_open_key_behind_thousands_of_full_keys_is_found(worker):
    fill(worker, 2_500)
    per_tenant.enqueue("zzz")

    looks = [dispatch.run_due(1).claimable for _ in range(3)]

    assert looks == [0, 0, 1]


def test_full_keys_cost_no_write_per_sweep(worker):
    fill(worker, 100)
    assert dispatch.find_due_work(1).sweeps_due
    before = version_of_limit()

    dispatch.run_due(1)

    assert version_of_limit() == before


def test_a_freed_slot_is_filled_among_many_full_keys(worker):
    fill(worker, 500)
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(last_served_key="")
    running = Task.objects.get(slot_pipeline=NAME, concurrency_key="key 00400")
    lease = lease_for(running, worker)

    (following,) = settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker))

    assert following.concurrency_key == "key 00400"


def test_the_round_robin_advances_to_a_key_with_a_free_slot(worker):
    fill(worker, 500)
    opened = per_tenant.enqueue("zzz")
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(last_served_key="")
    lease = lease_for(Task.objects.get(slot_pipeline=NAME, concurrency_key="key 00001"), worker)
    insert(QUEUED, NAME, 20, keys=2, payload='{"tenant": "x"}')

    started = []
    while opened.pk not in started:
        (lease,) = settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker))
        started.append(lease.task)

    assert len(started) <= 500 / 64 + 2


def test_tasks_of_a_key_removed_from_the_code_start(worker):
    # The key was removed from the code while these were scheduled, or had failed.
    scheduled = per_tenant.using(run_at=None).enqueue("late")
    with arranging():
        Task.objects.filter(pk=scheduled.pk).update(status="scheduled")
    failed = per_tenant.enqueue("failed")
    control.cancel(failed.pk)
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(declared_tasks_per_key=None, key="")

    Task.objects.filter(pk=scheduled.pk).update(status="queued")
    control.retry(failed.pk)
    work()

    assert set(Task.objects.values_list("status", flat=True)) == {"succeeded"}


def test_the_pipelines_limit_is_shared_among_keys(worker):
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=2, tasks_per_key=5)
    insert(QUEUED, NAME, 90, keys=3, payload='{"tenant": "x"}')
    leases = claim(ClaimRequest(worker)) + claim(ClaimRequest(worker))
    assert claim(ClaimRequest(worker)) == []
    served = keys_of(leases)
    for _ in range(7):
        (lease,) = settle(leases.pop(0), Succeeded("1"), claim_request=ClaimRequest(worker))
        leases.append(lease)
        served.append(lease.concurrency_key)

    assert [served.count(f"key 0000{number}") for number in range(3)] == [3, 3, 3]
    assert Task.objects.filter(status="running").count() == 2


def lease_for(task, worker):
    """Build the lease of a running task."""
    return Lease(
        task=task.pk, worker=worker, number=task.lease, pipeline=task.pipeline_id, payload="{}", labels={}, key="",
        failures=0, concurrency_key=task.concurrency_key, is_limited=True,
    )  # fmt: skip
