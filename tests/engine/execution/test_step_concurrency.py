"""Step limits: never exceeded, always used, and a task that waits for a slot has no worker."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from taskqueue import Limit, Permanent, Rate, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.execution import slots
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.run import execute_task
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import ConcurrencyLimit, Pipeline, StepSlot, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.backlogs import ENDED, insert
from tests.support.database.plans import explain, sequential_scans
from tests.support.leases import take
from tests.support.pipelines.basic import one_step
from tests.support.pipelines.step_concurrency import execute, in_the_middle, inside, one_place, worked


@step
async def worked_async(number: int) -> int:
    for _ in range(5):
        await asyncio.sleep(0)
    return number


@step(rate=Rate(1, per=timedelta(minutes=1), name="test/slots"))
def rated(tenant: str) -> str:
    return tenant


@pipeline("slots/per-tenant", step_concurrency=[Limit(3), Limit(1, key="{tenant}")])
def per_tenant(tenant: str) -> str:
    return worked(tenant)


@pipeline("slots/gathered", step_concurrency=2)
async def gathered(number: int) -> list[int]:
    return list(await asyncio.gather(*(worked_async(each) for each in range(number))))


@pipeline("slots/rated", step_concurrency=1)
def one_rated(tenant: str) -> str:
    return rated(tenant)


@pytest.fixture(autouse=True)
def _nothing_inside():
    inside.clear()


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def reload(task):
    return Task.objects.get(pk=task.pk)


@pytest.mark.django_db
def test_a_step_without_a_free_slot_waits_without_a_worker(worker):
    first, second = one_place.enqueue("a"), one_place.enqueue("b")
    leases = [take(worker.worker), take(worker.worker)]

    def meanwhile():
        execute(leases[1])
        assert (reload(second).status, reload(second).due_at) == ("waiting", None)
        assert reload(second).blocked_on == "step limit"
        assert status_of(second.pk).waiting_for == "a free step slot"
        assert StepSlot.objects.count() == 1

    in_the_middle(meanwhile)
    execute(leases[0])

    assert reload(first).status == "succeeded"
    assert reload(second).status == "queued"
    work()
    assert reload(second).status == "succeeded"
    assert not StepSlot.objects.exists()


@pytest.mark.django_db
def test_a_released_slot_goes_to_the_longest_waiting_task(worker):
    _first, second, third = (one_place.enqueue(tenant) for tenant in "abc")
    leases = [take(worker.worker) for _ in range(3)]
    in_the_middle(lambda: execute(leases[1]))
    execute(leases[0])
    assert reload(second).status == "queued"

    execute(leases[2])

    assert reload(third).status == "waiting"
    work()
    assert {reload(task).status for task in (second, third)} == {"succeeded"}


@pytest.mark.django_db
def test_each_key_has_its_own_slots_under_a_total_limit(worker):
    tasks = [per_tenant.enqueue(tenant) for tenant in "aabbccdd"]
    leases = [take(worker.worker) for _ in tasks]
    seen = []

    def go_on(tenant):
        seen.append(sorted(StepSlot.objects.values_list("concurrency_key", flat=True)))
        if leases:
            execute(leases.pop(0))

    inside.append(go_on)
    execute(leases.pop(0))
    while leases:
        execute(leases.pop(0))
    inside.clear()
    work()

    assert max(map(len, seen)) == 3
    assert all(len(set(groups)) == len(groups) for groups in seen)
    assert {reload(task).status for task in tasks} == {"succeeded"}


@pytest.mark.django_db
def test_concurrent_async_steps_acquire_slots_too():
    seen = []

    def count(*_arguments):
        seen.append(StepSlot.objects.count())
        return release(*_arguments)

    release = slots.release
    slots.release = count
    try:
        task = gathered.enqueue(5)
        work()
    finally:
        slots.release = release

    assert reload(task).result == [0, 1, 2, 3, 4]
    assert max(seen) == 2
    assert not StepSlot.objects.exists()


@pytest.mark.django_db
def test_a_failed_step_releases_its_slot(worker):
    def fail(tenant):
        raise Permanent(tenant)

    inside.append(fail)
    task = one_place.enqueue("a")
    work()

    assert reload(task).status == "failed"
    assert not StepSlot.objects.exists()


@pytest.mark.django_db
def test_a_step_blocked_by_its_rate_holds_no_slot():
    one_rated.enqueue("a")
    task = one_rated.enqueue("b")
    work()

    assert reload(task).blocked_on == "test/slots"
    assert not StepSlot.objects.exists()


@pytest.mark.django_db
def test_slots_of_dead_workers_and_cancelled_tasks_are_free(worker):
    for end in ("die", "cancel"):
        dying, waiting = one_place.enqueue("a"), one_place.enqueue("b")
        with InProcessWorker() as victim:
            lease, other = take(victim.worker), take(worker.worker)
            StepSlot.objects.create(pipeline_id="places/one", task_id=lease.task, lease=lease.number, step_key="worked")
            execute(other)
            assert reload(waiting).status == "waiting"

            victim.die() if end == "die" else control.cancel(dying.pk)
            dispatch.run_due(1)
            assert reload(waiting).status == "queued"
        work()
        assert reload(waiting).status == "succeeded"


@pytest.mark.django_db
def test_a_slot_released_before_the_wait_is_written_is_granted(worker):
    _first, second = one_place.enqueue("a"), one_place.enqueue("b")
    leases = [take(worker.worker), take(worker.worker)]
    outcomes = []
    in_the_middle(lambda: outcomes.append(execute_task(leases[1], activity=Activity(), stopping=lambda: False)))
    execute(leases[0])
    assert reload(second).status == "running"

    settle(leases[1], outcomes[0], claim_request=None)

    assert reload(second).status == "queued"


@pytest.mark.django_db
def test_an_operator_can_set_or_change_any_pipelines_step_limit(worker):
    one_step.enqueue(1)
    ConcurrencyLimit.objects.filter(pipeline="engine/one-step").update(steps=1)
    (lease,) = claim(ClaimRequest(worker.worker))
    assert lease.steps_limited
    execute(lease)

    ConcurrencyLimit.objects.filter(pipeline="places/one").update(steps=2)
    tasks = [one_place.enqueue(tenant) for tenant in "abc"]
    ConcurrencyLimit.objects.filter(pipeline="places/one").update(steps=2)
    leases = [take(worker.worker) for _ in tasks]
    in_the_middle(lambda: execute(leases[1]))
    execute(leases[0])
    assert [reload(task).status for task in tasks[:2]] == ["succeeded", "succeeded"]


@pytest.mark.django_db
def test_a_wider_limit_grants_slots_to_waiting_tasks(worker):
    tasks = [one_place.enqueue(tenant) for tenant in "abc"]
    leases = [take(worker.worker) for _ in tasks]

    def widen():
        execute(leases[1]), execute(leases[2])
        ConcurrencyLimit.objects.filter(pipeline="places/one").update(steps=3)
        dispatch.run_due(1)
        assert [reload(task).status for task in tasks] == ["running", "queued", "queued"]

    in_the_middle(widen)
    execute(leases[0])


@pytest.mark.django_db
def test_the_step_limit_is_restored_in_an_emptied_database(worker):
    Pipeline.objects.all().delete()
    one_place.enqueue("a")

    assert take(worker.worker).steps_limited


@pytest.mark.django_db(transaction=True)
def test_workers_that_acquire_at_once_do_not_exceed_the_limit():
    with InProcessWorker() as worker:
        for _ in range(12):
            one_place.enqueue("a")
        ConcurrencyLimit.objects.update(steps=2)
        leases = [take(worker.worker) for _ in range(12)]
        barrier = threading.Barrier(4)
        counted: list[int] = []

        def look(tenant):
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM taskqueue_stepslot")
                counted.append(cursor.fetchone()[0])

        inside.append(look)

        def go(number):
            try:
                barrier.wait(timeout=90)
                for lease in leases[number::4]:
                    execute(lease)
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(go, range(4)))
        worker.work()

    assert max(counted) <= 2
    assert Task.objects.filter(status="succeeded").count() == 12


@pytest.mark.django_db(transaction=True)
def test_of_two_steps_only_one_gets_the_last_slot():
    with InProcessWorker() as worker:
        _first, second = one_place.enqueue("a"), one_place.enqueue("b")
        leases = [take(worker.worker), take(worker.worker)]
        ready = threading.Event()

        def later():
            try:
                ready.wait(timeout=90)
                return execute(leases[1])
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(later)

            def race():
                ready.set()
                assert following.result(timeout=90).blocked_on == "step limit"

            in_the_middle(race)
            execute(leases[0])
        assert reload(second).status == "queued"


@pytest.mark.django_db
def test_finding_pipelines_with_waiting_tasks_does_not_read_the_tasks(worker):
    insert(ENDED, "places/one", 2000, worker=worker.row.pk)

    tree = explain(sql.PIPELINES_WAITING_FOR_SLOTS, {})

    assert not sequential_scans(tree)
    assert {node["Index Name"] for node in tree if "Index Name" in node} == {"taskqueue_task_at_step"}
