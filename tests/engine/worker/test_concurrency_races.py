"""Concurrency limits under races: no limit is exceeded and no deadlock occurs."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction

from taskqueue import Limit, pipeline
from taskqueue.engine import sql
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Task
from taskqueue.testing import InProcessWorker
from tests.support.database.races import OpenTransaction, run_concurrently, run_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "concurrency_limit-races/both"


@pipeline(NAME, concurrency=[Limit(3), Limit(2, key="{tenant}")])
def both(tenant: str) -> str:
    return tenant


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def lock_concurrency_limit():
    return sql.fetch(sql.LOCK_CONCURRENCY_LIMIT, {"limited": NAME})


def lock_gate_at_once():
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '50ms'")
        lock_concurrency_limit()


def running():
    return Counter(Task.objects.filter(status="running").values_list("concurrency_key", flat=True))


def start(operation):
    """Run it in a thread with its own connection. Returns its future."""

    def do():
        try:
            return operation()
        finally:
            connection.close()

    return ThreadPoolExecutor(1).submit(do)


@pytest.mark.parametrize("most", [1, 8])
def test_concurrent_claims_fill_the_limits_exactly(worker, most):
    for tenant in "aaaabbbb":
        both.enqueue(tenant)

    run_concurrently(4, lambda: claim(ClaimRequest(worker.worker, most)))
    run_concurrently(4, lambda: claim(ClaimRequest(worker.worker, most)))

    assert running().total() == 3
    assert max(running().values()) == 2


def test_a_slot_freed_during_a_claim_is_used_once(worker):
    for _ in range(6):
        both.enqueue("a")
    first, second = (claim(ClaimRequest(worker.worker))[0] for _ in range(2))

    operations = [
        start(lambda: settle(first, Succeeded("1"), claim_request=ClaimRequest(worker.worker))),
        start(lambda: settle(second, Succeeded("1"), claim_request=None)),
        start(lambda: claim(ClaimRequest(worker.worker))),
    ]
    for operation in operations:
        operation.result(timeout=90)

    assert running()["a"] <= 2
    claim(ClaimRequest(worker.worker, 8))
    assert running() == {"a": 2}


def test_settling_locks_no_task_while_it_waits_for_the_limit(worker):
    for _ in range(4):
        both.enqueue("a")
    lease, _other = (claim(ClaimRequest(worker.worker))[0] for _ in range(2))
    concurrency_limit = OpenTransaction(lock_concurrency_limit)
    settling = run_until_blocked(lambda: settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker)))

    # The end is committed, and a cancel of several tasks that holds the limit's lock finds none of them locked.
    assert Task.objects.get(pk=lease.task).status == "succeeded"
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")
    for task in Task.objects.exclude(pk=lease.task):
        assert control.cancel(task.pk).status == "cancelled"

    concurrency_limit.end()
    assert settling.result(timeout=90) == []
    assert running() == {}


def test_admission_skips_a_locked_task(worker):
    tasks = [both.enqueue("a") for _ in range(3)]
    cancelling = OpenTransaction(lambda: control.cancel(tasks[0].pk))
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")

    (lease,) = claim(ClaimRequest(worker.worker))

    assert lease.task == tasks[1].pk
    cancelling.end()
    assert [lease.task for lease in claim(ClaimRequest(worker.worker))] == [tasks[2].pk]


def test_a_cancelled_tasks_slot_is_free_after_the_commit(worker):
    for _ in range(3):
        both.enqueue("a")
    first, _second = (claim(ClaimRequest(worker.worker))[0] for _ in range(2))
    cancelling = OpenTransaction(lambda: control.cancel(first.task))
    assert claim(ClaimRequest(worker.worker)) == []

    cancelling.end()

    assert len(claim(ClaimRequest(worker.worker))) == 1


def test_a_lost_task_keeps_its_slot_until_it_is_poison(worker):
    tasks = [both.enqueue("a") for _ in range(2)]
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=1)
    for _ in range(5):
        with InProcessWorker() as victim:
            (lease,) = claim(ClaimRequest(victim.worker))
            assert lease.task == tasks[0].pk
            victim.die()
            recover(victim.worker, reason="a test")

    assert Task.objects.get(pk=tasks[0].pk).status == "failed"
    assert [lease.task for lease in claim(ClaimRequest(worker.worker))] == [tasks[1].pk]


def test_the_round_robin_does_not_wait_for_a_locked_limit(worker):
    for number in range(40):
        both.enqueue(f"t{number:02}")
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=100, tasks_per_key=1)
    while claim(ClaimRequest(worker.worker, 8)):
        pass
    for number in range(40):
        both.enqueue(f"t{number:02}")
    both.enqueue("zzz")
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(last_served_key="")
    concurrency_limit = OpenTransaction(lock_concurrency_limit)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")

    assert dispatch.run_due(1).claimable == 0
    concurrency_limit.end()
    assert dispatch.run_due(1).claimable == 1


def test_a_changed_limit_waits_for_a_running_admission(worker):
    for _ in range(5):
        both.enqueue("a")
    admitting = OpenTransaction(lambda: (lock_concurrency_limit(), claim(ClaimRequest(worker.worker))))
    changing = run_until_blocked(lambda: ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=1))
    with pytest.raises(OperationalError):
        lock_gate_at_once()

    admitting.end()
    changing.result(timeout=90)

    assert claim(ClaimRequest(worker.worker, 8)) == []
    assert running() == {"a": 1}
