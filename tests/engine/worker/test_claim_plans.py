"""Claims and the dispatcher's query use index probes, however full the tables are."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from taskqueue.engine import sql
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT, LOCK_SPACE, STARTUP_GRACE
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import STATISTICS, forget_statistics, unchecked
from tests.support.database.plans import HISTORY, code, explain, sequential_scans

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


def test_a_claim_reads_only_queue_heads(worker):
    pipelines = ["engine/one-step", "engine/three-steps", "engine/idle"]

    tree = explain(sql.CLAIM, ClaimRequest(worker).parameters | code(pipelines))

    assert not sequential_scans(tree)
    tasks = [node for node in tree if node.get("Relation Name") == "taskqueue_task" and "Index Name" in node]
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in tasks) <= len(pipelines)


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
INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input_hash, started_at, finished_at)
SELECT %s, 'step ' || number, 'step', 'parallel', 'waiting', 0, '', now(), now() FROM generate_series(1, 5000) AS number
"""


def test_the_end_of_a_parallel_step_reads_one_step_of_its_parent(worker):
    pipeline = {"pipeline_id": "engine/one-step", "payload": {}}
    parent = Task.objects.create(**pipeline, status="waiting")
    made = {"parent": parent, "parent_key": "step 7", "parallel_step": "step", "result": 1}
    parallel_step = Task.objects.create(**pipeline, **made, status="succeeded", finished_at=Now())
    with unchecked() as cursor:
        cursor.execute(STEPS, [parent.pk])
    Step.objects.filter(task=parent, key="step 7").update(child=parallel_step)

    tree = explain(sql.RESOLVE_PARENT, {"task": parallel_step.pk, "limit": 1_000_000})

    assert not sequential_scans(tree)
    read = [node for node in tree if node.get("Relation Name") in {"taskqueue_task", "taskqueue_step"}]
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in read) == 1
    assert Step.objects.get(task=parent, key="step 7").output == 1
