"""Claims and the dispatcher's query use index probes, however full the tables are."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from taskqueue.engine import sql
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT, LOCK_SPACE, STARTUP_GRACE
from taskqueue.engine.sql.run import numbered
from taskqueue.ids import uuid7
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import STATISTICS, explain_generic_plan, forget_statistics, rolled_back, unchecked
from tests.support.database.plans import HISTORY, code, explain, nodes, sequential_scans, tasks_read
from tests.support.moves import arranging

pytestmark = pytest.mark.django_db

BACKLOG = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at)
SELECT gen_random_uuid(), pipeline, 'queued', '', '{}', 0, '{}', now(), now(), 0, 0, '', now()
FROM generate_series(1, 5000), unnest(ARRAY['engine/one-step', 'engine/unknown-here']) pipeline
"""


@pytest.fixture(scope="module", params=STATISTICS)
def worker(request, module_transaction):
    """A table of finished tasks and of a backlog, half of it of a pipeline without code here."""
    with rolled_back(), InProcessWorker() as worker:
        forget_statistics()
        with unchecked() as cursor:
            cursor.execute(
                "INSERT INTO taskqueue_pipeline (name, description, payload_schema, result_schema, retry) "
                "VALUES ('engine/unknown-here', '', '{}', '{}', '[]')"
            )
            cursor.execute(HISTORY, [worker.row.pk])
            cursor.execute(BACKLOG)
            if request.param:
                cursor.execute("ANALYZE taskqueue_task")
        yield worker.row.pk


def test_a_claim_reads_only_queue_heads(worker):
    pipelines = ["engine/one-step", "engine/three-steps", "engine/idle"]

    tree = explain(sql.CLAIM, ClaimRequest(worker).parameters | code(pipelines))

    assert not sequential_scans(tree)
    assert tasks_read(tree) <= len(pipelines)


def test_the_dispatchers_query_reads_only_index_heads(worker):
    values = {**code(["engine/one-step"]), "skipped": [], "limit": 4, "lock_space": LOCK_SPACE}

    tree = explain(
        sql.FIND_DUE_WORK, {**values, "heartbeat_timeout": HEARTBEAT_TIMEOUT, "startup_grace": STARTUP_GRACE}
    )

    scans = [node for node in tree if node.get("Relation Name") == "taskqueue_task"]
    assert scans
    assert not sequential_scans(tree)
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) <= 5


def test_promoting_reads_only_due_timers(worker):
    tree = explain(sql.PROMOTE, {})

    assert "taskqueue_task_timer" in {node.get("Index Name") for node in tree}
    assert not sequential_scans(tree)


STEPS = """
INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input_hash, output, started_at, finished_at)
SELECT %s, 'step ' || number, 'step', 'parallel', status, 0, '', CASE status WHEN 'succeeded' THEN '1'::jsonb END,
    now(), now()
FROM generate_series(1, 5000) AS number
CROSS JOIN LATERAL (SELECT CASE WHEN number <= 2500 THEN 'succeeded' ELSE 'waiting' END AS status) AS status
"""
PARALLEL_STEPS = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, parent_id, parent_key, parallel_step, parallel_limit)
SELECT ('00000000-0000-7000-8000-' || lpad(number::text, 12, '0'))::uuid, 'engine/one-step',
    CASE WHEN number <= 2508 THEN 'queued' ELSE 'waiting' END, '', '{}', 0, '{}',
    CASE WHEN number <= 2508 THEN now() END, CASE WHEN number <= 2508 THEN now() END, 0, 0, '', now(),
    %s, 'step ' || number, 'step', 8
FROM generate_series(2501, 5000) AS number
"""
LINKS = """
UPDATE taskqueue_step step SET child_id = child.id FROM taskqueue_task child
WHERE child.parent_id = step.task_id AND child.parent_key = step.key
"""


@pytest.fixture
def parent(worker):
    """A task of 5,000 parallel steps: half of them have ended, eight are queued, the others wait behind the limit."""
    parent = Task.objects.create(pipeline_id="engine/one-step", payload={}, status="waiting")
    with unchecked() as cursor:
        cursor.execute(STEPS, [parent.pk])
        cursor.execute(PARALLEL_STEPS, [parent.pk])
        cursor.execute(LINKS)
    return parent


def test_the_end_of_a_parallel_step_reads_one_step_of_its_parent(parent):
    parallel_step, next_one = Task.objects.filter(parent_key__in=["step 2501", "step 2509"]).order_by("parent_key")
    ended = Task.objects.filter(pk=parallel_step.pk)
    with arranging():
        ended.update(status="succeeded", result=1, finished_at=Now())

    tree = explain(sql.COMPLETE_PARALLEL_STEP, {"task": parallel_step.pk, "parent": parent.pk, "limit": 1_000_000})

    assert not sequential_scans(tree)
    read = [node for node in tree if node.get("Relation Name") in {"taskqueue_task", "taskqueue_step"}]
    limit = 8
    for node in read:
        assert (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] <= limit + 1, node
    assert Step.objects.get(task=parent, key="step 2501").output == 1
    assert not ended.exists()
    next_one.refresh_from_db()
    assert next_one.status == "queued"


@pytest.mark.parametrize(
    ("statement", "then"),
    [
        (sql.PASS_PARALLEL_SLOT, "queued"),
        (sql.PASS_PARALLEL_SLOT_AND_CLAIM, "queued"),  # older tasks come first
        (sql.PASS_PARALLEL_SLOT_AND_CONTINUE, "running"),
    ],
)
def test_a_passed_slot_reads_one_step_of_the_parent_and_the_tasks_within_the_limit(parent, worker, statement, then):
    parallel_step, next_one = Task.objects.filter(parent_key__in=["step 2501", "step 2509"]).order_by("parent_key")
    with arranging():
        Task.objects.filter(pk=parallel_step.pk).update(
            status="running", worker=worker, lease=1, started_at=Now(), slot_acquired_at=Now()
        )
    ended = {"task": parallel_step.pk, "worker": worker, "lease": 1, "parent": parent.pk, "result": "1", "logs": None}
    values = {**ClaimRequest(worker).parameters, **code(["engine/one-step"]), **ended, "limit": 1_000_000}

    tree = explain(statement, values)

    assert not sequential_scans(tree)
    limit = 8
    for node in tree:
        if node.get("Relation Name") in {"taskqueue_task", "taskqueue_step"}:
            read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            assert read <= limit + 1, node
    assert Step.objects.get(task=parent, key="step 2501").output == 1
    assert not Task.objects.filter(pk=parallel_step.pk).exists()
    next_one.refresh_from_db()
    assert next_one.status == then


@pytest.mark.parametrize(
    "statement", [sql.PASS_PARALLEL_SLOT, sql.PASS_PARALLEL_SLOT_AND_CLAIM, sql.PASS_PARALLEL_SLOT_AND_CONTINUE]
)
def test_a_plan_of_a_passed_slot_that_was_made_for_empty_tables_reads_by_indexes(statement, worker):
    forget_statistics()
    names = dict.fromkeys(numbered(statement)[1])
    ended = {"task": uuid7(), "parent": uuid7(), "worker": worker, "lease": 1, "result": "1", "limit": 1}

    tree = nodes(explain_generic_plan(statement, names | ClaimRequest(worker).parameters | ended))

    siblings = [node for node in tree if node.get("Alias") == "sibling"]
    assert [node["Index Name"] for node in siblings] == ["taskqueue_task_by_parent"]
    steps = [
        node["Index Cond"] for node in tree if node.get("Relation Name") == "taskqueue_step" and "Index Cond" in node
    ]
    assert all("key" in condition or "id =" in condition or "task_id >=" in condition for condition in steps)


@pytest.mark.parametrize("statement", [sql.COMPLETE_PARALLEL_STEP, sql.RESOLVE_PARENT])
def test_a_plan_that_was_made_for_empty_tables_finds_the_step_by_its_key_or_its_child(statement):
    """A worker keeps the plan while its first task of thousands of parallel steps runs.

    Each of both finds one row. Which is chosen depends on the pages that other tests have left in the table.
    """
    forget_statistics()

    tree = nodes(explain_generic_plan(statement, {"task": uuid7(), "parent": uuid7(), "limit": 1_000_000}))

    found = [node["Index Cond"] for node in tree if node.get("Alias") == "step" and "Index Cond" in node]
    assert found
    assert all(any(part in condition for part in ("(key)", "key =", "child_id =")) for condition in found)


def test_the_end_of_a_child_reads_one_step_of_its_parent(parent):
    child = Task.objects.get(parent_key="step 2501")
    with arranging():
        Task.objects.filter(pk=child.pk).update(status="succeeded", result=1, finished_at=Now(), parallel_step="")

    trees = [
        explain(sql.RESOLVE_PARENT, {"task": child.pk, "parent": parent.pk, "limit": 1_000_000}),
        explain(sql.QUEUE_SUSPENDED, {"task": parent.pk}),
    ]

    for tree in trees:
        assert not sequential_scans(tree)
        read = [node for node in tree if node.get("Relation Name") in {"taskqueue_task", "taskqueue_step"}]
        assert max(node["Actual Rows"] * node["Actual Loops"] for node in read) == 1
    assert Step.objects.get(task=parent, key="step 2501").output == 1
