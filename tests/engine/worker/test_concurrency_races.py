"""Concurrency limits under races, each contender on its own connection: no limit is exceeded, no deadlock occurs."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction

from taskqueue import Limit, pipeline
from taskqueue.engine import sql
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Task
from taskqueue.testing import InProcessWorker
from tests.support.database.races import Held, at_once

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


def elsewhere(deed):
    """Do something on a connection of its own, that may have to wait."""

    def do():
        try:
            return deed()
        finally:
            connection.close()

    return ThreadPoolExecutor(1).submit(do)


@pytest.mark.parametrize("most", [1, 8])
def test_four_that_claim_at_once_get_as_many_as_the_limits_allow_and_no_more(worker, most):
    for tenant in "aaaabbbb":
        both.enqueue(tenant)

    at_once(4, lambda: claim(ClaimRequest(worker.worker, most)))
    at_once(4, lambda: claim(ClaimRequest(worker.worker, most)))

    assert running().total() == 3
    assert max(running().values()) == 2


def test_an_end_against_a_claim_gives_the_place_to_one(worker):
    for _ in range(6):
        both.enqueue("a")
    first, second = (claim(ClaimRequest(worker.worker))[0] for _ in range(2))

    deeds = [
        elsewhere(lambda: settle(first, Succeeded("1"), claim_request=ClaimRequest(worker.worker))),
        elsewhere(lambda: settle(second, Succeeded("1"), claim_request=None)),
        elsewhere(lambda: claim(ClaimRequest(worker.worker))),
    ]
    for deed in deeds:
        deed.result(timeout=90)

    assert running()["a"] <= 2
    claim(ClaimRequest(worker.worker, 8))
    assert running() == {"a": 2}


def test_who_settles_before_a_gate_holds_no_task_while_it_waits_for_it(worker):
    for _ in range(4):
        both.enqueue("a")
    (lease,) = claim(ClaimRequest(worker.worker))
    concurrency_limit = Held(lock_concurrency_limit)
    settling = elsewhere(lambda: settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker)))

    # Somebody who cancels a family of tasks may hold one of them and want this one.
    assert control.cancel(lease.task).status == "cancelled"

    concurrency_limit.end()
    (following,) = settling.result(timeout=90)
    assert Task.objects.get(pk=lease.task).status == "cancelled"
    assert running() == {"a": 1}
    assert following.task != lease.task


def test_a_task_that_somebody_holds_is_passed_over_and_keeps_nobody_waiting(worker):
    tasks = [both.enqueue("a") for _ in range(3)]
    cancelling = Held(lambda: control.cancel(tasks[0].pk))
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")

    (lease,) = claim(ClaimRequest(worker.worker))

    assert lease.task == tasks[1].pk
    cancelling.end()
    assert [lease.task for lease in claim(ClaimRequest(worker.worker))] == [tasks[2].pk]


def test_a_cancelled_tasks_place_is_free_with_the_cancels_commit_and_not_before(worker):
    for _ in range(3):
        both.enqueue("a")
    first, _second = (claim(ClaimRequest(worker.worker))[0] for _ in range(2))
    cancelling = Held(lambda: control.cancel(first.task))
    assert claim(ClaimRequest(worker.worker)) == []

    cancelling.end()

    assert len(claim(ClaimRequest(worker.worker))) == 1


def test_a_lost_task_keeps_its_place_until_it_is_poison(worker):
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


def test_walking_on_does_not_wait_for_a_gate_that_somebody_holds(worker):
    for number in range(40):
        both.enqueue(f"t{number:02}")
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=100, tasks_per_key=1)
    while claim(ClaimRequest(worker.worker, 8)):
        pass
    for number in range(40):
        both.enqueue(f"t{number:02}")
    both.enqueue("zzz")
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(last_served_key="")
    concurrency_limit = Held(lock_concurrency_limit)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1s'")

    assert dispatch.run_due(1).claimable == 0
    concurrency_limit.end()
    assert dispatch.run_due(1).claimable == 1


def test_a_changed_limit_waits_for_who_holds_the_gate_and_holds_from_then_on(worker):
    for _ in range(5):
        both.enqueue("a")
    admitting = Held(lambda: (lock_concurrency_limit(), claim(ClaimRequest(worker.worker))))
    changing = elsewhere(lambda: ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=1))
    with pytest.raises(OperationalError):
        lock_gate_at_once()

    admitting.end()
    changing.result(timeout=90)

    assert claim(ClaimRequest(worker.worker, 8)) == []
    assert running() == {"a": 1}
