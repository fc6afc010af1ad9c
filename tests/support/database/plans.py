"""Query plans of statements."""

from __future__ import annotations

import json

import psycopg
from django.db import connection

from taskqueue.engine.runtime.taken_queues import queue_parameters

HISTORY = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, started_at, finished_at, worker_id)
SELECT gen_random_uuid(), 'engine/one-step', 'succeeded', '', '{}', 0, '{}', now(), now(), 1, 0, '',
    now(), now(), now(), %s
FROM generate_series(1, 20000)
"""


def plan(statement, parameters):
    """Execute a statement; its plan with the buffers read."""
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
        return cursor.fetchone()[0]


def code(pipelines):
    """The parameters of a process that has the code of these pipelines, and takes all queues."""
    return {"pipelines": pipelines, "codes": ["" for _ in pipelines], **queue_parameters()}


def nodes(tree):
    yield tree
    for child in tree.get("Plans", []):
        yield from nodes(child)


SMALL = 10
"""Blocks. The tables that such tests fill have hundreds."""


def sequential_scans(tree):
    """The growing tables that a plan scans sequentially. Scans of a few blocks do not count.

    Other tests leave dead rows, and of a table with one block PostgreSQL reads the block.
    """
    scans = [
        node["Relation Name"]
        for node in tree
        if node["Node Type"] == "Seq Scan" and node["Shared Hit Blocks"] + node["Shared Read Blocks"] > SMALL
    ]
    return [name for name in scans if name in {"taskqueue_task", "taskqueue_step", "taskqueue_event", "taskqueue_wait"}]


def explain(statement, parameters):
    text = plan(statement, parameters)
    return list(nodes((json.loads(text) if isinstance(text, str) else text)[0]["Plan"]))


def rows_read(tree, relation):
    """The rows that a plan reads of a table, with those that it filters out."""
    scans = [node for node in tree if node.get("Relation Name") == relation]
    return sum((n["Actual Rows"] + n.get("Rows Removed by Filter", 0)) * n["Actual Loops"] for n in scans)


def tasks_read(tree):
    """The maximum number of rows that a node of the plan reads of the task table."""
    return max(
        (node["Actual Rows"] * node["Actual Loops"] for node in tree if node.get("Relation Name") == "taskqueue_task"),
        default=0,
    )
