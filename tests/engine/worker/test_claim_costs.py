"""What a claim reads does not grow with what has ended, nor with what is held back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from taskqueue import Limit, Rate, pipeline
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.liveness import LOCK_SPACE, SETTLING, SILENCE
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimitBucket
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import (
    ENDED,
    QUEUED,
    RUNNING,
    STATISTICS,
    explain_for_all_values,
    forget_statistics,
    insert,
)
from tests.support.database.plans import explain, nodes, walked
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db

NAME = "costs/held-back"


@pipeline(NAME, concurrency=[Limit(100), Limit(1, key="{tenant}")])
def held_back(tenant: str) -> str:
    return tenant


@pipeline("costs/throttled", throttle=Rate(1, per=timedelta(hours=1)))
def throttled(tenant: str) -> str:
    return tenant


def by_one_full_key(worker):
    insert(QUEUED, NAME, 5_000, keys=1)
    insert(RUNNING, NAME, 1, keys=1, worker=worker)


def by_many_full_keys(worker):
    ConcurrencyLimit.objects.filter(pipeline=NAME).update(tasks=1000, last_served_key="key 00100")
    insert(QUEUED, NAME, 5_000, keys=200)
    insert(RUNNING, NAME, 200, keys=200, worker=worker)


def by_the_pipelines_limit(worker):
    insert(QUEUED, NAME, 5_000)
    insert(RUNNING, NAME, 100, worker=worker)


def by_a_pause(worker):
    Pipeline.objects.filter(pk=NAME).update(paused_at=Now())
    insert(QUEUED, NAME, 5_000, keys=50)


def by_a_booked_up_throttle(worker):
    insert(QUEUED, "costs/throttled", 5_000)
    concurrency_limit = ConcurrencyLimit.objects.get(pipeline="costs/throttled")
    assert concurrency_limit.rate is not None
    RateLimitBucket.objects.create(rate=concurrency_limit.rate, theoretical_arrival_at=Now() + timedelta(days=1))


HELD_BACK = [by_one_full_key, by_many_full_keys, by_the_pipelines_limit, by_a_pause, by_a_booked_up_throttle]


@pytest.fixture(params=HELD_BACK, ids=lambda hold: hold.__name__)
def hold(request):
    """What holds tasks back."""
    return request.param


@pytest.fixture(params=STATISTICS)
def worker(request, hold):
    """A worker beside five thousand ended tasks and as many that are held back."""
    forget_statistics()
    for each in (held_back, throttled, one_step):
        sync_pipeline(each.definition)
    with InProcessWorker() as worker:
        insert(ENDED, NAME, 5_000, worker=worker.worker)
        hold(worker.worker)
        if request.param:
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE taskqueue_task")
        yield worker.worker


def read(tree):
    """How many rows of tasks a statement has read, those that it filtered out included."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in tree
        if node.get("Relation Name") == "taskqueue_task" and "Scan" in node["Node Type"]
    )


def test_a_claim_reads_a_bounded_number_of_tasks_and_finds_another_pipelines(worker):
    task = one_step.enqueue(1)

    tree = explain(sql.CLAIM, ClaimRequest(worker).parameters)

    assert not walked(tree)
    assert read(tree) <= 300
    task.refresh_from_db()
    assert task.status == "running"


@pytest.mark.parametrize("most", [1, 8])
def test_the_plan_for_all_values_reads_no_more(worker, most):
    for number in range(20):
        one_step.enqueue(number)
    claiming = ClaimRequest(worker, most).parameters
    admitting = {"pipelines": [NAME], "codes": [""], "limited": NAME, "freed": "", "by_end": True, "most": most}

    for statement, values in ((sql.CLAIM, claiming), (sql.ADMIT, admitting)):
        tree = list(nodes(explain_for_all_values(statement, values)))
        assert not walked(tree)
        assert read(tree) <= 1_000
        locks = [node["Actual Rows"] * node["Actual Loops"] for node in tree if node["Node Type"] == "LockRows"]
        assert sum(locks) <= 2 * most


def test_looking_letting_starts_through_and_walking_on_do_too(worker):
    assert claim(ClaimRequest(worker, 8)) == []
    look = {
        **deployed_pipelines(),
        "passed": [],
        "limit": 4,
        "lock_space": LOCK_SPACE,
        "silence": SILENCE,
        "settling": SETTLING,
    }
    code = {"pipelines": [NAME], "codes": [""]}

    looking = explain(sql.LOOK, look)
    admitting = explain(sql.ADMIT, {**code, "limited": NAME, "freed": "", "by_end": True, "most": 8})
    walking = explain(sql.WALK_ON, {**code, "passed": []})

    for tree in (looking, admitting, walking):
        assert not walked([node for node in tree if node.get("Relation Name") == "taskqueue_task"])
    # Those that run are looked through once a second: whether their worker has ended.
    assert read(looking) <= 1_000
    assert read(admitting) <= 1_000
    assert read(walking) <= 4_000
