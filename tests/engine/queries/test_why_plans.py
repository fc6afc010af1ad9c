"""An explanation reads only by indexes, among a hundred thousand tasks."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from taskqueue import Limit, Rate, pipeline
from taskqueue.engine import sql
from taskqueue.engine.queries.why import executing
from taskqueue.engine.runtime.liveness import HEARTBEAT_TIMEOUT
from taskqueue.models import Task
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import unchecked
from tests.support.database.plans import nodes, sequential_scans

pytestmark = pytest.mark.django_db

ROWS = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, started_at, finished_at, worker_id, blocked_on, "concurrency_key", slot_acquired_at)
SELECT gen_random_uuid(), 'why/crowded', status, '', '{{}}', 0, '{{}}',
    at, at, 1, 0, '', now(),
    CASE WHEN status IN ('running', 'succeeded') THEN now() END, CASE WHEN status = 'succeeded' THEN now() END,
    CASE WHEN status = 'running' THEN {worker} END,
    CASE WHEN status = 'waiting' THEN 'why-rate' ELSE '' END, "concurrency_key", CASE WHEN status <> 'queued'
        THEN now() END
FROM (
    SELECT (ARRAY['succeeded', 'succeeded', 'queued', 'waiting', 'succeeded'])[number % 5 + 1] AS status,
        (ARRAY['a', 'b', ''])[number % 3 + 1] AS "concurrency_key", now() + number * interval '1 second' AS at
    FROM generate_series(1, 100000) number
    UNION ALL SELECT 'running', 'a', now() FROM generate_series(1, 30)
) AS rows
"""


@pipeline("why/crowded", concurrency=[Limit(30), Limit(20, key="{tenant}")], throttle=Rate(1, per=timedelta(minutes=1)))
def crowded(tenant: str) -> None:
    return None


@pytest.fixture(params=[True], ids=["with statistics"])
def task(request):
    """A task behind a hundred thousand others."""
    with InProcessWorker() as worker:
        with unchecked() as cursor:
            cursor.execute(ROWS.format(worker=worker.row.pk))
            if request.param:
                cursor.execute("ANALYZE taskqueue_task")
        task = crowded.enqueue("a")
        later = Now() + timedelta(days=100)
        Task.objects.filter(pk=task.pk).update(due_at=later, sort_at=later)
        task.refresh_from_db()
        yield task


def explain(statement, parameters=None):
    """The nodes of the executed plan."""
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        plan = cursor.fetchone()[0]
    return list(nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def read(tree):
    """How many task rows the statement read, filtered ones included."""
    tasks = [node for node in tree if node.get("Relation Name") == "taskqueue_task"]
    return sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in tasks)


def test_an_explanation_reads_only_by_indexes(task):
    pipeline, due_at = {"pipeline": "why/crowded"}, {"due_at": task.due_at}
    limits = {
        "queue": "default",
        "concurrency_key": "a",
        "heartbeat_timeout": HEARTBEAT_TIMEOUT,
        "most": 30,
        "most_per_key": 20,
        "rate": "why/crowded",
        "rate_key": "",
    }
    place = {"task": task.pk, "sort_at": task.sort_at, "started_queue": "why/crowded"}

    trees = {
        "obstacles": (explain(sql.BLOCKERS, pipeline | limits), 60),
        "holders": (explain(sql.SLOT_HOLDERS, {**pipeline, "concurrency_key": None, "most": 20}), 20),
        "holders of a key": (explain(sql.SLOT_HOLDERS, {**pipeline, "concurrency_key": "a", "most": 20}), 20),
        "booked": (explain(sql.RATE_QUEUE_POSITION, {**pipeline, **due_at, "rate": "r", "concurrency_key": None}), 501),
        **{
            f"queue of {group}": (explain(sql.QUEUE_POSITION, {**pipeline, **place, "concurrency_key": group}), 3_400)
            for group in ("a", "", "unused")
        },
        "state": (explain(sql.TASK_STATE, {"task": task.pk}), 1),
        "pending steps": (explain(sql.PENDING_STEPS, {"task": task.pk, "with_parallel": True}), 1),
        "waits": (explain(sql.EVENT_WAITS, {"task": task.pk}), 1),
        "step slots": (explain(query_of(executing, task)), 1),
    }

    for name, (tree, most) in trees.items():
        assert "taskqueue_task" not in sequential_scans(tree), name
        assert read(tree) <= most, (name, summary(tree))


def summary(tree):
    """The nodes and their rows, for the message of a failed assertion."""
    shown = ("Node Type", "Index Name", "Plan Rows", "Actual Rows", "Rows Removed by Filter")
    return "; ".join(" ".join(str(node[name]) for name in shown if name in node) for node in tree)


def query_of(reading, task):
    """The one query that a function runs."""
    with CaptureQueriesContext(connection) as queries:
        assert reading(task) == []
    return queries[0]["sql"]
