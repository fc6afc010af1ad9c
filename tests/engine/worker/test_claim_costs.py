"""The rows that a claim reads do not grow with history or with blocked tasks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from taskqueue import Limit, Rate, pipeline
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_pipeline
from taskqueue.engine.execution.rate_limits import SHORT_WAIT
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.deployed_pipelines import deployed_pipelines
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT, LOCK_SPACE, STARTUP_GRACE
from taskqueue.engine.runtime.taken_queues import queue_parameters, taking
from taskqueue.engine.worker.claims import claim
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimitBucket
from taskqueue.queues import TakenQueues
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import (
    ENDED,
    QUEUED,
    RUNNING,
    STATISTICS,
    explain_generic_plan,
    forget_statistics,
    insert,
    rolled_back,
)
from tests.support.database.plans import explain, nodes, sequential_scans
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db

NAME = "costs/blocked"


@pipeline(NAME, concurrency=[Limit(100), Limit(1, key="{tenant}")])
def limited(tenant: str) -> str:
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


def by_an_exhausted_throttle(worker):
    insert(QUEUED, "costs/throttled", 5_000)
    concurrency_limit = ConcurrencyLimit.objects.get(pipeline="costs/throttled")
    assert concurrency_limit.rate is not None
    RateLimitBucket.objects.create(rate=concurrency_limit.rate, theoretical_arrival_at=Now() + timedelta(days=1))


BLOCKS = [by_one_full_key, by_many_full_keys, by_the_pipelines_limit, by_a_pause, by_an_exhausted_throttle]


@pytest.fixture(scope="module", params=BLOCKS, ids=lambda block: block.__name__)
def block(request):
    """Blocks tasks in one of several ways."""
    return request.param


@pytest.fixture(scope="module", params=STATISTICS)
def worker(request, block, module_transaction):
    """A worker with five thousand finished and five thousand blocked tasks."""
    with rolled_back():
        forget_statistics()
        for each in (limited, throttled, one_step):
            sync_pipeline(each.definition)
        with InProcessWorker() as worker:
            insert(ENDED, NAME, 5_000, worker=worker.worker)
            block(worker.worker)
            if request.param:
                with connection.cursor() as cursor:
                    cursor.execute("ANALYZE taskqueue_task")
            yield worker.worker


def read(tree):
    """The rows of the task table that a statement has read, with those that it filtered out."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in tree
        if node.get("Relation Name") == "taskqueue_task" and "Scan" in node["Node Type"]
    )


def test_a_claim_reads_a_bounded_number_of_tasks(worker):
    task = one_step.enqueue(1)

    tree = explain(sql.CLAIM, ClaimRequest(worker).parameters)

    assert not sequential_scans(tree)
    assert read(tree) <= 300
    task.refresh_from_db()
    assert task.status == "running"


SOME_QUEUES = [
    TakenQueues(("mail", "default")),
    TakenQueues((), ("mail", "reports")),
    TakenQueues(("mail", "default"), is_strict=True),
]


@pytest.mark.parametrize("queues", SOME_QUEUES, ids=str)
def test_a_claim_of_some_queues_reads_no_more_tasks(worker, queues):
    one_step.enqueue(1)
    with taking(queues):
        claiming = ClaimRequest(worker).parameters

    tree = explain(sql.CLAIM, claiming)
    generic_tree = list(nodes(explain_generic_plan(sql.CLAIM, claiming)))

    for each in (tree, generic_tree):
        assert not sequential_scans(each)
        assert read(each) <= 300


@pytest.mark.parametrize("most", [1, 8])
def test_the_generic_plan_reads_no_more(worker, most):
    for number in range(20):
        one_step.enqueue(number)
    claiming = ClaimRequest(worker, most).parameters
    admitting = {
        "pipelines": [NAME],
        "codes": [""],
        "limited": NAME,
        "freed_key": "",
        "at_task_end": True,
        "most": most,
        "brief": SHORT_WAIT,
    }

    for statement, values in ((sql.CLAIM, claiming), (sql.ADMIT, admitting)):
        tree = list(nodes(explain_generic_plan(statement, values)))
        assert not sequential_scans(tree)
        assert read(tree) <= 1_000
        locks = [node["Actual Rows"] * node["Actual Loops"] for node in tree if node["Node Type"] == "LockRows"]
        assert sum(locks) <= 2 * most


def test_due_work_admission_and_round_robin_read_bounded_rows(worker):
    assert claim(ClaimRequest(worker, 8)) == []
    look = {
        **deployed_pipelines(),
        **queue_parameters(),
        "skipped": [],
        "limit": 4,
        "lock_space": LOCK_SPACE,
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "startup_grace": STARTUP_GRACE,
    }
    code = {"pipelines": [NAME], "codes": [""], **queue_parameters()}

    looking = explain(sql.FIND_DUE_WORK, look)
    ended = {"freed_key": "", "at_task_end": True, "brief": SHORT_WAIT}
    admitting = explain(sql.ADMIT, {**code, "limited": NAME, **ended, "most": 8})
    walking = explain(sql.ADVANCE_ROUND_ROBIN, {**code, "skipped": []})

    for tree in (looking, admitting, walking):
        assert not sequential_scans([node for node in tree if node.get("Relation Name") == "taskqueue_task"])
    # Running tasks are scanned once a second for ended workers.
    assert read(looking) <= 1_000
    assert read(admitting) <= 1_000
    assert read(walking) <= 4_000
