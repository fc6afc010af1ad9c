"""PostgreSQL plans the statements of the hot path once, and not again at each execution."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from taskqueue import Limit, Rate, each, emit, enqueue_many, pipeline, sleep, step, wait_for
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.loop import run_until_idle
from taskqueue.engine.worker.settle import settle
from taskqueue.pool.startup import PREPARE_THRESHOLD
from taskqueue.testing import InProcessWorker, advance
from tests.support.database.backlogs import ENDED, QUEUED, insert, unchecked

pytestmark = pytest.mark.django_db

ROUNDS = 10
CUSTOM_PLANS = 5
"""PostgreSQL plans a prepared statement for its values five times, and compares the costs with those of one plan for
all values. If that seems to cost more, it plans the statement at each execution."""
LONG = 2_000
"""Characters. Planning a shorter statement takes less than a millisecond."""
LATER = """
UPDATE taskqueue_task
SET due_at = due_at + interval '1 year', sort_at = sort_at + interval '1 year', payload = '{"number": 1}'
"""


@step
def add(number: int) -> int:
    return number + 1


@step(rate=Rate(100_000, per=timedelta(seconds=1), name="planned/rate"))
def rated(number: int) -> int:
    return number


@pipeline("planned/plain")
def plain(number: int) -> int:
    return add(add(number))


@pipeline(
    "planned/limited",
    concurrency=[Limit(10), Limit(3, key="{number}")],
    throttle=Rate(100_000, per=timedelta(seconds=1)),
)
def limited(number: int) -> int:
    return add(number)


@pipeline("planned/ten", concurrency=10)
def ten(number: int) -> int:
    return add(number)


@pipeline("planned/steps", step_concurrency=3)
def steps_limited(number: int) -> int:
    return rated(add(number))


@pipeline("planned/parent")
def parent(number: int) -> int:
    return sum(each(add, range(3), limit=2)) + plain(number)


@pipeline("planned/waiting")
def waiting(number: int) -> None:
    sleep("nap", timedelta(minutes=1))
    emit("planned/go", {"number": number})
    wait_for("planned/go", match={"number": number}, timeout=timedelta(hours=1))


def work_some():
    with InProcessWorker() as worker:
        run_until_idle(worker, budget=timedelta(seconds=0.1), stopping=lambda: False)


def prepared():
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement, custom_plans FROM pg_prepared_statements")
        return cursor.fetchall()


@pytest.fixture(autouse=True)
def _prepared():
    """Prepare the engine's statements, as workers and the demo do, and no others."""
    connection.ensure_connection()
    connection.connection.prepare_threshold = PREPARE_THRESHOLD
    yield
    connection.close()


def test_no_statement_is_planned_again_and_again():
    sync_pipelines()
    for name in ("planned/plain", "planned/ten"):
        insert(ENDED, name, 10_000)
        insert(QUEUED, name, 1_000)
    insert(QUEUED, "planned/limited", 2_000, keys=100)
    with unchecked() as cursor:
        cursor.execute(LATER)
        cursor.execute("ANALYZE taskqueue_task")
    for number in range(ROUNDS):
        for each_pipeline in (plain, limited, ten, steps_limited, parent, waiting):
            each_pipeline.enqueue(number)
        task = ten.using(key=f"key {number}").enqueue(number)
        enqueue_many([plain.defer(more) for more in range(3)])
        work_some()
        advance(minutes=2)
        dispatch.run_due(3)
        status_of(task.pk)
    with InProcessWorker() as worker:
        for _ in range(ROUNDS):
            for lease in claim(ClaimRequest(worker.worker)):
                settle(lease, Succeeded("1"), claim_request=None)
    planned = {
        " ".join(statement.split())[:200]
        for statement, custom_plans in prepared()
        if custom_plans > CUSTOM_PLANS and len(statement) > LONG
    }
    assert planned == set()
