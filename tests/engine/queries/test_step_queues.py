"""Counts, loads and samples include the tasks in the queues of steps, each under its queue."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskqueue import each, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.maintenance import rollups
from taskqueue.engine.queries import pipeline_stats, stats
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.queue_workers import queue_workers, queues_without_pipelines
from taskqueue.engine.runtime.taken_queues import taking
from taskqueue.engine.sql.history import rollups as statements
from taskqueue.models import PipelineStep, Rollup, Task
from taskqueue.queues import TakenQueues
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import explain_generic_plan, unchecked
from tests.support.database.plans import HISTORY, explain, nodes, sequential_scans, tasks_read

pytestmark = pytest.mark.django_db

NAME = "counted-queues/film"


@step(queue="render")
def draw(number: int) -> int:
    return number


@pipeline(NAME)
def film(number: int) -> int:
    return draw(number)


@pipeline("counted-queues/frames")
def frames(number: int) -> int:
    return sum(each(draw, range(number)))


@pytest.fixture(autouse=True)
def _synced():
    sync_pipelines()


@pytest.fixture
def moved():
    """Two tasks in the queue of a step, one in the pipeline's, and three parallel steps."""
    film.enqueue(1)
    film.enqueue(2)
    frames.enqueue(3)
    with InProcessWorker(queues="default") as worker:
        worker.work()
    return film.enqueue(3)


def test_readiness_is_counted_by_queue(moved):
    found = {(each.pipeline, each.queue): each.claimable for each in pipeline_stats.readiness()}

    assert found[NAME, "default"] == 1
    assert found[NAME, "render"] == 2
    assert found["counted-queues/frames", "render"] == 3
    assert all(each.oldest is not None for each in pipeline_stats.readiness() if each.claimable)


def test_a_step_queue_with_the_pipelines_name_is_counted_once(moved):
    Task.objects.filter(step_queue="render").update(step_queue="default")

    found = [each for each in pipeline_stats.readiness() if each.pipeline == NAME]

    assert [(each.queue, each.claimable) for each in found] == [("default", 3)]


def test_queue_depths_and_loads_include_them(moved):
    depth = stats.queue_depths()[NAME]
    assert (depth.number, depth.in_step_queues) == (3, {"render": 2})
    depth = stats.queue_depths()["counted-queues/frames"]
    assert (depth.parallel_steps, depth.own, depth.in_step_queues) == (3, 0, {"render": 3})
    assert pipeline_stats.loads_of([NAME])[NAME].queued == 3

    rollups.sample(datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert Rollup.objects.get(span=1, pipeline=NAME).queued == 3


def test_the_queues_of_steps_count_their_workers(moved):
    Task.objects.filter(pipeline=NAME, step_queue="render").update(step_queue="old")

    with InProcessWorker(queues="render"), InProcessWorker(not_queues="default"), InProcessWorker(queues="default"):
        found = queue_workers()

    assert (found["default"], found["render"], found["old"]) == (1, 2, 1)
    assert queues_without_pipelines(["render", "nothing"])[0] == ["nothing"]


def test_the_queue_of_a_step_is_synced():
    assert PipelineStep.objects.get(pipeline=NAME, name="draw").queue == "render"


BACKLOG = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, started_at, slot_acquired_at, step_queue)
SELECT gen_random_uuid(), pipeline, 'queued', '', '{}', 0, '{}', now(), now(), 1, 0, '', now(), now(), now(), queue
FROM generate_series(1, 2000), unnest(ARRAY['counted-queues/film', 'counted-queues/unknown-here']) pipeline,
    unnest(ARRAY['mail', 'render', 'zip']) queue
"""


@pytest.fixture
def crowded():
    """Two thousand tasks in each of three queues of steps, for each of two pipelines."""
    with InProcessWorker() as worker, unchecked() as cursor:
        cursor.execute(HISTORY, [worker.worker])
        cursor.execute(BACKLOG)
        cursor.execute("ANALYZE taskqueue_task")
        yield worker.worker


@pytest.mark.parametrize("queues", [TakenQueues(("default", "render")), TakenQueues((), ("mail",)), TakenQueues()])
def test_a_claim_reads_one_task_of_each_queue(crowded, queues):
    with taking(queues):
        claiming = ClaimRequest(crowded).parameters

    for tree in (explain(sql.CLAIM, claiming), list(nodes(explain_generic_plan(sql.CLAIM, claiming)))):
        assert not sequential_scans(tree)
        read = [node for node in tree if node.get("Relation Name") == "taskqueue_task"]
        assert sum(node["Actual Rows"] * node["Actual Loops"] for node in read) <= 15


def test_counting_reads_each_queue_up_to_the_cap(crowded):
    sql.fetch(statements.FORCE_INDEX_ORDER, {})
    for statement, values in (
        (statements.COUNT_QUEUED, {}),
        (statements.COUNT_READY, {}),
        (sql.QUEUE_LOADS, {"names": [NAME]}),
        (sql.QUEUE_WORKERS, {"heartbeat_timeout": "1 minute", "step_queues": []}),
    ):
        tree = explain(statement, values)
        assert not sequential_scans(tree)
        assert tasks_read(tree) <= 6 * 1_001
