"""A search, and a page of what it finds, reads no more of the tasks than it shows, by an index."""

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
    """Many succeeded tasks, and before all of them those that failed and those of a rare pipeline."""
    Pipeline.objects.create(name="rare/one")
    with connection.cursor() as cursor:
        cursor.execute(HISTORY)
        cursor.execute("ANALYZE taskqueue_task")


def nodes(tree):
    yield tree
    for child in tree.get("Plans", []):
        yield from nodes(child)


def read_of(queryset) -> tuple[set[str], float]:
    """The indexes of the tasks that a query used, and how many of their rows it looked at."""
    (plan,) = json.loads(queryset.explain(format="json", analyze=True))
    return looked_at(plan)


def is_of_tasks(node) -> bool:
    return node.get("Relation Name") == "taskqueue_task" or node.get("Index Name", "").startswith("taskqueue_task_")


def looked_at(plan) -> tuple[set[str], float]:
    tree = list(nodes(plan["Plan"]))
    scans = [node for node in tree if is_of_tasks(node)]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    rows = [(node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans]
    return {node["Index Name"] for node in scans if "Index Name" in node}, sum(rows)


@pytest.mark.parametrize(
    ("selection", "index", "most"),
    [
        (TaskFilter(), "taskqueue_task_pkey", 50),
        (TaskFilter(statuses=("failed",)), "taskqueue_task_by_status", 50),
        (TaskFilter(statuses=("failed", "cancelled")), "taskqueue_task_by_status", 100),
        (TaskFilter(statuses=("waiting",)), "taskqueue_task_by_status", 0),
        (TaskFilter(pipeline="rare/one"), "taskqueue_task_by_pipeline", 50),
        # both indexes, each read to its end with whatever was deleted since, and the rows that they have in common
        (TaskFilter(pipeline="rare/one", statuses=("failed",)), "taskqueue_task_by_status", 10_000),
        (TaskFilter(pipeline="rare/one", statuses=("succeeded",)), "taskqueue_task_by_pipeline", 200),
        (TaskFilter(begins="order-3999"), "taskqueue_task_by_key", 30),
        (TaskFilter(errors="Old", statuses=("failed",)), "taskqueue_task_by_status", 300),
    ],
)
def test_a_page_of_ids_is_read_from_its_index_and_no_further(selection, index, most):
    used, rows = read_of(filters.ids_of(selection, floor=filters.floor_of(selection), limit=50))

    assert index in used
    assert rows <= most


def test_a_batch_goes_on_where_the_last_one_ended_without_reading_what_was_before():
    ids = list(filters.ids_of(TaskFilter(statuses=("failed",)), limit=300))
    oldest_first = ids[::-1]

    bounds, now = (oldest_first[199], oldest_first[-1]), filters.database_now()
    used, rows = read_of(filters.between(TaskFilter(statuses=("failed",)), *bounds, made_by=now, limit=50))

    assert used <= {"taskqueue_task_by_status", "taskqueue_task_pkey"}
    assert rows <= 100


def test_a_search_that_no_index_answers_looks_at_the_newest_only(monkeypatch):
    monkeypatch.setattr(filters, "SEARCHED", 100)
    selection = TaskFilter(labels=(("tenant", "nobody"),))

    used, rows = read_of(filters.ids_of(selection, floor=filters.floor_of(selection), limit=50))

    assert used == {"taskqueue_task_pkey"}
    assert rows <= 100


def test_the_numbers_of_the_tabs_are_counted_by_index_and_up_to_the_limit():
    values = {"statuses": [status.value for status in TaskStatus], "limit": 100}
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.STATUS_COUNTS}", values)
        ((plan,),) = cursor.fetchall()

    used, rows = looked_at((json.loads(plan) if isinstance(plan, str) else plan)[0])

    assert used == {"taskqueue_task_by_status"}
    assert rows <= 201
