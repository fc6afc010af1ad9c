"""Statistics of pipelines and steps read the newest tasks by an index."""

from __future__ import annotations

import pytest
from django.db import connection

from demo.pipelines import DemoRequest, demo_task
from taskqueue.engine import sql
from taskqueue.engine.queries import pipeline_stats
from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.database.backlogs import QUEUED, explain_generic_plan, forget_statistics, insert
from tests.support.database.histories import history
from tests.support.database.plans import nodes, sequential_scans
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db


def demo(label: str, **more) -> Task:
    return demo_task.enqueue(DemoRequest(label=label, delay_seconds=0, **more))


def test_the_load_of_a_pipeline_is_counted():
    demo("fine")
    work()
    demo("queued")

    assert pipeline_stats.loads_of(["demo/task", "engine/none"]) == {
        "demo/task": pipeline_stats.PipelineLoad(slots_used=0, queued=1),
        "engine/none": pipeline_stats.PipelineLoad(),
    }


def test_step_statistics_keep_the_order_of_recording():
    demo("fine")
    demo("broken", simulate_failure=True)
    demo("unsteady", failures_before_success=2)
    work()

    found = {step.name: step for step in pipeline_stats.steps_of("demo/task")}

    assert list(found) == [
        "simulate-processing", "simulate-delay", "simulate-api-call", "demonstrate-retry", "return-result",
    ]  # fmt: skip
    call, retry = found["simulate-api-call"], found["demonstrate-retry"]
    assert (call.succeeded, call.failed, call.retries, call.tasks) == (2, 1, 1, 3)
    assert (retry.succeeded, retry.failed, retry.retries) == (1, 0, 1)
    assert call.median is not None


def test_code_versions_count_their_tasks():
    for label in ("one", "two"):
        demo(label)
    work()
    Task.objects.filter(payload__label="two").update(code_ended="another")

    found = {code.fingerprint: code.tasks for code in pipeline_stats.code_versions_of("demo/task")}

    assert found.pop("another") == 1
    assert list(found.values()) == [2]


@pytest.fixture
def full():
    """A pipeline with many finished and queued tasks, and another pipeline with few."""
    forget_statistics()
    demo("alone")
    one_step.enqueue(1)
    history(20_000)
    insert(QUEUED, "engine/one-step", 5_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskqueue_task, taskqueue_step")


def test_old_tasks_are_not_read(full):
    found = pipeline_stats.loads_of(["demo/task", "engine/one-step"])

    assert found["engine/one-step"].queued == pipeline_stats.COUNT_LIMIT + 1
    assert found["demo/task"].queued == 1
    values = {"names": ["demo/task", "engine/one-step"], "pipeline": "demo/task"}
    for statement, most in (
        (sql.QUEUE_LOADS, 7_000),
        (sql.STEP_STATS, 2_100),
        (sql.CODE_VERSIONS, 2_100),
    ):
        tree = list(nodes(explain_generic_plan(statement, values)))
        assert sequential_scans(tree) == []
        assert sum(map(rows_read, tree)) <= most


def rows_read(node) -> float:
    """The rows of the task table that a node has read."""
    if node.get("Relation Name") != "taskqueue_task":
        return 0
    return (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
