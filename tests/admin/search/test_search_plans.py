"""A search and a page of its results read few rows, by an index."""

from __future__ import annotations

import json

import psycopg
import pytest
from django.db import connection

from taskqueue.engine import sql
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.models import Pipeline
from taskqueue.states import TaskStatus

pytestmark = pytest.mark.django_db


HISTORY = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, started_at, finished_at, error)
SELECT (lpad(to_hex(1700000000000 + number), 12, '0') || '70008000' || lpad(to_hex(number), 12, '0'))::uuid, pipeline,
    CASE WHEN number <= 300 THEN 'failed' ELSE 'succeeded' END, 'order-' || number, '{}', 0, '{}',
    now(), now(), 1, 0, '', now(), now(), now(), CASE WHEN number <= 300 THEN '{"type": "Old"}'::jsonb END
FROM generate_series(1, 40000) AS number,
    LATERAL (SELECT CASE WHEN number <= 200 THEN 'rare/one' ELSE 'demo/task' END AS pipeline) AS named
"""


@pytest.fixture(autouse=True, scope="module")
def _history(module_transaction):
    """Many succeeded tasks; older ones failed, and the oldest belong to a rare pipeline."""
    Pipeline.objects.create(name="rare/one")
    with connection.cursor() as cursor:
        cursor.execute(HISTORY)
        cursor.execute("ANALYZE taskqueue_task")


def nodes(tree):
    yield tree
    for child in tree.get("Plans", []):
        yield from nodes(child)


def plan_of(queryset) -> tuple[set[str], float]:
    """The task indexes that a query used, and how many rows it read."""
    (plan,) = json.loads(queryset.explain(format="json", analyze=True))
    return rows_read(plan)


def is_task_scan(node) -> bool:
    return node.get("Relation Name") == "taskqueue_task" or node.get("Index Name", "").startswith("taskqueue_task_")


def rows_read(plan) -> tuple[set[str], float]:
    tree = list(nodes(plan["Plan"]))
    scans = [node for node in tree if is_task_scan(node)]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    rows = [(node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans]
    return {node["Index Name"] for node in scans if "Index Name" in node}, sum(rows)


@pytest.mark.parametrize(
    ("task_filter", "index", "max_rows"),
    [
        (TaskFilter(), "taskqueue_task_pkey", 50),
        (TaskFilter(statuses=("failed",)), "taskqueue_task_by_status", 50),
        (TaskFilter(statuses=("failed", "cancelled")), "taskqueue_task_by_status", 100),
        (TaskFilter(statuses=("waiting",)), "taskqueue_task_by_status", 0),
        (TaskFilter(pipeline="rare/one"), "taskqueue_task_by_pipeline", 50),
        # a BitmapAnd of both indexes: each is read to its end, dead rows included
        (TaskFilter(pipeline="rare/one", statuses=("failed",)), "taskqueue_task_by_status", 10_000),
        (TaskFilter(pipeline="rare/one", statuses=("succeeded",)), "taskqueue_task_by_pipeline", 200),
        (TaskFilter(id_or_key_prefix="order-3999"), "taskqueue_task_by_key", 30),
        (TaskFilter(error_prefix="Old", statuses=("failed",)), "taskqueue_task_by_status", 300),
    ],
)
def test_a_page_of_ids_reads_few_rows_of_its_index(task_filter, index, max_rows):
    used, rows = plan_of(filters.ids_of(task_filter, oldest=filters.oldest_scanned(task_filter), limit=50))

    assert index in used
    assert rows <= max_rows


def test_a_batch_does_not_read_earlier_batches_again():
    ids = list(filters.ids_of(TaskFilter(statuses=("failed",)), limit=300))
    oldest_first = ids[::-1]

    bounds, now = (oldest_first[199], oldest_first[-1]), filters.database_now()
    used, rows = plan_of(filters.ids_between(TaskFilter(statuses=("failed",)), *bounds, created_by=now, limit=50))

    assert used <= {"taskqueue_task_by_status", "taskqueue_task_pkey"}
    assert rows <= 100


def test_a_search_without_index_reads_the_newest_tasks_only(monkeypatch):
    monkeypatch.setattr(filters, "SCAN_LIMIT", 100)
    task_filter = TaskFilter(labels=(("tenant", "unused"),))

    used, rows = plan_of(filters.ids_of(task_filter, oldest=filters.oldest_scanned(task_filter), limit=50))

    assert used == {"taskqueue_task_pkey"}
    assert rows <= 100


def test_tab_counts_use_an_index_and_stop_at_the_limit():
    values = {"statuses": [status.value for status in TaskStatus], "limit": 100}
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.STATUS_COUNTS}", values)
        ((plan,),) = cursor.fetchall()

    used, rows = rows_read((json.loads(plan) if isinstance(plan, str) else plan)[0])

    assert used == {"taskqueue_task_by_status"}
    assert rows <= 201
