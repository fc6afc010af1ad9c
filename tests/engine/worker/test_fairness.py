"""Keys take turns: a long queue of one does not hold up another one, whatever the keys are and however many."""

from __future__ import annotations

from itertools import chain

import pytest
from django.db import connection

from taskqueue import Limit, pipeline
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.backlogs import QUEUED, RUNNING, insert
from tests.support.database.races import at_once
from tests.support.moves import arranging

NAME = "fairness/per-tenant"


@pipeline(NAME, concurrency=Limit(1, key="{tenant}"))
def per_tenant(tenant: str) -> str:
    return tenant


@pytest.fixture
def worker(db):
    """A worker, and the pipeline's row with its gate."""
    with InProcessWorker() as worker:
        Task.objects.filter(pk=per_tenant.enqueue("first").pk).delete()
        yield worker.worker


def groups_of(leases):
    return [lease.concurrency_key for lease in leases]


def version_of_gate():
    """Where the gate's row lies: another place after each write."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT ctid FROM taskqueue_concurrencylimit WHERE pipeline_id = %s", [NAME])
        return cursor.fetchone()


def fill(worker, keys):
    """So many keys, each of them full and with a task that waits."""
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
def test_beside_a_hundred_thousand_tasks_of_one_key_anothers_single_one_starts_with_the_next_two(worker, single, most):
    insert(QUEUED, NAME, 100_000, keys=1, payload='{"tenant": "crowd"}')
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks_per_key=50)
    claim(ClaimRequest(worker, most))
    task = per_tenant.enqueue(single)

    leases = claim(ClaimRequest(worker, most)) + claim(ClaimRequest(worker, most))

    assert task.pk in {lease.task for lease in leases}


@pytest.mark.django_db(transaction=True)
def test_with_several_workers_it_starts_as_soon(worker):
    insert(QUEUED, NAME, 5_000, keys=1, payload='{"tenant": "crowd"}')
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks_per_key=50)
    claim(ClaimRequest(worker))
    task = per_tenant.enqueue("single")

    leases = list(chain(*at_once(4, lambda: claim(ClaimRequest(worker)))))

    assert len(leases) == 4
    assert task.pk in {lease.task for lease in leases}


def test_keys_take_turns_while_one_worker_works_them_off(worker):
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


def test_tasks_without_a_key_have_their_turn_too(worker):
    insert(QUEUED, NAME, 3, keys=0, payload='{"tenant": "x"}')
    insert(QUEUED, NAME, 300, keys=3, payload='{"tenant": "x"}')

    groups = [lease.concurrency_key for _ in range(4) for lease in claim(ClaimRequest(worker))]

    assert sorted(groups) == ["", "key 00000", "key 00001", "key 00002"]


def test_a_thousand_full_keys_do_not_hide_an_open_one(worker):
    fill(worker, 1_000)
    opened = per_tenant.enqueue("zzz")
    assert claim(ClaimRequest(worker)) == []

    assert dispatch.run_due(1).claimable
    (lease,) = claim(ClaimRequest(worker))

    assert lease.task == opened.pk


def test_behind_some_thousand_full_keys_an_open_one_is_found_at_the_third_look(worker):
    fill(worker, 2_500)
    per_tenant.enqueue("zzz")

    looks = [dispatch.run_due(1).claimable for _ in range(3)]

    assert looks == [0, 0, 1]


def test_keys_that_are_all_full_cost_no_write_at_each_look(worker):
    fill(worker, 100)
    assert dispatch.look(1).chores
    before = version_of_gate()

    dispatch.run_due(1)

    assert version_of_gate() == before


def test_who_gives_a_place_back_fills_it_however_many_full_keys_there_are(worker):
    fill(worker, 500)
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(last_served_key="")
    held = Task.objects.get(slot_pipeline=NAME, concurrency_key="key 00400")
    lease = lease_for(held, worker)

    (following,) = settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker))

    assert following.concurrency_key == "key 00400"


def test_and_the_walk_goes_on_meanwhile_to_a_key_that_has_room(worker):
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


def test_what_the_code_no_longer_groups_starts_all_the_same(worker):
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


def test_a_limit_in_all_is_shared_among_the_keys(worker):
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=2, tasks_per_key=5)
    insert(QUEUED, NAME, 90, keys=3, payload='{"tenant": "x"}')
    leases = claim(ClaimRequest(worker)) + claim(ClaimRequest(worker))
    assert claim(ClaimRequest(worker)) == []
    served = groups_of(leases)
    for _ in range(7):
        (lease,) = settle(leases.pop(0), Succeeded("1"), claim_request=ClaimRequest(worker))
        leases.append(lease)
        served.append(lease.concurrency_key)

    assert [served.count(f"key 0000{number}") for number in range(3)] == [3, 3, 3]
    assert Task.objects.filter(status="running").count() == 2


def lease_for(task, worker):
    """The lease of a running task."""
    return Lease(
        task=task.pk, worker=worker, number=task.lease, pipeline=task.pipeline_id, payload="{}", labels={}, key="",
        failures=0, concurrency_key=task.concurrency_key, is_limited=True,
    )  # fmt: skip
