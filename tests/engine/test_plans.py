"""The claim and the look of every doorbell are index probes, whatever the tables hold."""

from __future__ import annotations

import json

import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now

from taskqueue.engine import sql
from taskqueue.engine.runtime.liveness import LOCK_SPACE, SETTLING, SILENCE
from taskqueue.engine.worker.claims import ClaimRequest
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker
from tests.engine.backlogs import STATISTICS, forget_statistics, unchecked

pytestmark = pytest.mark.django_db

HISTORY = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, started_at, finished_at, worker_id)
SELECT gen_random_uuid(), 'engine/one-step', 'succeeded', '', '{}', 0, '{}', now(), now(), 1, 0, '',
    now(), now(), now(), %s
FROM generate_series(1, 20000)
"""
BACKLOG = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at)
SELECT gen_random_uuid(), pipeline, 'queued', '', '{}', 0, '{}', now(), now(), 0, 0, '', now()
FROM generate_series(1, 5000), unnest(ARRAY['engine/one-step', 'engine/unknown-here']) pipeline
"""


@pytest.fixture(scope="module", params=STATISTICS)
def worker(request, module_transaction):
    """A table of ended tasks and of a backlog, half of it of a pipeline that nobody here knows."""
    forget_statistics()
    with InProcessWorker() as worker:
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


def plan(statement, parameters):
    """What the statement did: its plan with the buffers that it touched."""
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        return cursor.fetchone()[0]


def code(pipelines):
    """The parameters of a process that knows these pipelines."""
    return {"pipelines": pipelines, "codes": ["" for _ in pipelines]}


def nodes(tree):
    yield tree
    for child in tree.get("Plans", []):
        yield from nodes(child)


def walked(tree):
    """The tables that grow and that the statement walks from end to end; there is no way through an empty one."""
    scans = [
        node["Relation Name"]
        for node in tree
        if node["Node Type"] == "Seq Scan" and node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    ]
    return [name for name in scans if name in {"taskqueue_task", "taskqueue_step", "taskqueue_event", "taskqueue_wait"}]


def explain(statement, parameters):
    text = plan(statement, parameters)
    return list(nodes((json.loads(text) if isinstance(text, str) else text)[0]["Plan"]))


def test_a_claim_reads_no_more_than_the_heads_of_the_queues(worker):
    pipelines = ["engine/one-step", "engine/three-steps", "engine/idle"]

    tree = explain(sql.CLAIM, ClaimRequest(worker).parameters | code(pipelines))

    assert not walked(tree)
    tasks = [node for node in tree if node.get("Relation Name") == "taskqueue_task" and "Index Name" in node]
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in tasks) <= len(pipelines)


def test_a_look_reads_no_more_than_it_needs(worker):
    values = {**code(["engine/one-step"]), "passed": [], "limit": 4, "lock_space": LOCK_SPACE}

    tree = explain(sql.LOOK, {**values, "silence": SILENCE, "settling": SETTLING})

    scans = [node for node in tree if node.get("Relation Name") == "taskqueue_task"]
    assert scans
    assert not walked(tree)
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) <= 5


def test_promoting_reads_only_what_is_due(worker):
    tree = explain(sql.PROMOTE, {})

    assert "taskqueue_task_timer" in {node.get("Index Name") for node in tree}
    assert not walked(tree)


STEPS = """
INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input_hash, started_at, finished_at)
SELECT %s, 'step ' || number, 'step', 'branch', 'waiting', 0, '', now(), now() FROM generate_series(1, 5000) AS number
"""


def test_the_end_of_a_branch_reads_no_more_than_its_own_step_of_its_parents(worker):
    pipeline = {"pipeline_id": "engine/one-step", "payload": {}}
    parent = Task.objects.create(**pipeline, status="waiting")
    made = {"parent": parent, "parent_key": "step 7", "branch": "step", "result": 1}
    branch = Task.objects.create(**pipeline, **made, status="succeeded", finished_at=Now())
    with unchecked() as cursor:
        cursor.execute(STEPS, [parent.pk])
    Step.objects.filter(task=parent, key="step 7").update(child=branch)

    tree = explain(sql.RESOLVE_PARENT, {"task": branch.pk, "limit": 1_000_000})

    assert not walked(tree)
    read = [node for node in tree if node.get("Relation Name") in {"taskqueue_task", "taskqueue_step"}]
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in read) == 1
    assert Step.objects.get(task=parent, key="step 7").output == 1
