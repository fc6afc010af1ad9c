"""Pruning reads a bounded number of rows by indexes, however full the tables are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from taskqueue.engine import sql
from taskqueue.models import Task
from taskqueue.models.pruning import BEGINNING
from tests.support.database.backlogs import STATISTICS, forget_statistics, rolled_back, unchecked
from tests.support.database.histories import history
from tests.support.database.plans import explain, sequential_scans
from tests.support.pipelines import basic as pipelines

pytestmark = pytest.mark.django_db

KEEP = timedelta(days=30)
VALUES = {"pipeline": "engine/one-step", "keep": KEEP, "after": BEGINNING}
EVENTS = """
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, received_at, routed_at)
SELECT (lpad(to_hex(number), 12, '0') || '70008000000000000000')::uuid, 'retention/e', '{}', '', '',
    now() - interval '40 days', now() - interval '40 days'
FROM generate_series(1, 20000) AS number
"""
SKIPS = """
INSERT INTO taskqueue_skip (pipeline_id, kind, reason, key, created_at)
SELECT pipeline, 'misfire', 'late', '', now() - interval '40 days'
FROM generate_series(1, 10000), unnest(ARRAY['engine/one-step', 'engine/three-steps']) AS pipeline
UNION ALL SELECT 'engine/one-step', 'deferred', 'later', '', now() - interval '40 days' FROM generate_series(1, 10000)
"""

WAITS = """
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, created_at, outcome)
SELECT id, 'w', 0, 'retention/e', '{}', '', md5(id::text), now(), 'timeout' FROM taskqueue_task
"""
KEYS = """
INSERT INTO taskqueue_idempotencykey (pipeline_id, key, task_id, expires_at)
SELECT 'engine/one-step', number, %s, now() - interval '2 hours' + number * interval '1 minute'
FROM generate_series(1, 20000) AS number
"""


@pytest.fixture(autouse=True, scope="module", params=STATISTICS)
def _long_history(request, module_transaction):
    """Old tasks of two pipelines, new tasks, their waits, events and skipped requests."""
    with rolled_back():
        forget_statistics()
        sql.fetch(sql.AVOID_SORTING, {})
        history(10_000)
        history(10_000, pipeline="engine/three-steps")
        history(5_000, days=1)
        with unchecked() as cursor:
            cursor.execute(EVENTS)
            cursor.execute(SKIPS)
            cursor.execute(WAITS)
            if request.param:
                cursor.execute(
                    "ANALYZE taskqueue_task, taskqueue_step, taskqueue_event, taskqueue_skip, taskqueue_wait"
                )
        yield


def most_read(tree, table):
    return max(
        (node["Actual Rows"] * node["Actual Loops"] for node in tree if node.get("Relation Name") == table), default=0
    )


@pytest.mark.parametrize("statement", [sql.PRUNE_TASKS, sql.COUNT_PRUNABLE])
def test_a_batch_of_tasks_is_found_by_index(statement):
    tree = explain(statement, VALUES)

    assert not sequential_scans(tree)
    assert "taskqueue_task_by_pipeline" in {node.get("Index Name") for node in tree}
    assert most_read(tree, "taskqueue_task") <= sql.PRUNE_SCAN_LIMIT
    assert most_read(tree, "taskqueue_step") <= sql.PRUNE_SCAN_LIMIT


def test_a_batch_of_events_is_found_by_index():
    tree = explain(sql.PRUNE_EVENTS, {**VALUES, "oldest": None, "window": timedelta(days=1)})

    assert not sequential_scans(tree)
    assert most_read(tree, "taskqueue_event") <= sql.PRUNE_SCAN_LIMIT


def test_the_oldest_unfinished_task_is_found_by_one_probe_per_status():
    pipelines.one_step.enqueue(1)

    tree = explain(sql.OLDEST_UNFINISHED, {})

    assert not sequential_scans(tree)
    assert most_read(tree, "taskqueue_task") <= 1


def test_skipped_requests_are_found_by_index():
    tree = explain(sql.PRUNE_SKIPS, VALUES)

    assert not [node for node in tree if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "taskqueue_skip"]
    assert most_read(tree, "taskqueue_skip") <= sql.PRUNE_SCAN_LIMIT


def test_deferred_starts_are_found_by_index():
    tree = explain(sql.GIVE_UP_DEFERRED_STARTS, {"days": 7})

    assert not [node for node in tree if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "taskqueue_skip"]
    assert most_read(tree, "taskqueue_skip") <= 2 * sql.PRUNE_SCAN_LIMIT


def test_expired_keys_are_found_by_index():
    task = Task.objects.filter(pipeline="engine/one-step")[0]
    with unchecked() as cursor:
        cursor.execute(KEYS, [task.pk])
        cursor.execute("ANALYZE taskqueue_idempotencykey")

    tree = explain(sql.PRUNE_KEYS, {})

    assert "taskqueue_key_expiry" in {node.get("Index Name") for node in tree}
    assert most_read(tree, "taskqueue_idempotencykey") <= 100


def test_a_worker_is_deleted_without_a_scan_of_tasks():
    """PostgreSQL checks no foreign key without an index."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND confrelid = 'taskqueue_worker'::regclass"
        )
        assert cursor.fetchall() == []
