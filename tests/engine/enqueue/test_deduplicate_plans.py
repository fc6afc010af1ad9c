"""Debounced and batched requests find their task by one index probe in a full table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue.engine import sql
from taskqueue.engine.runtime.notify import notification
from taskqueue.ids import uuid7
from tests.support.database.backlogs import STATISTICS, forget_statistics, rolled_back, unchecked
from tests.support.database.plans import HISTORY, explain, rows_read, sequential_scans
from tests.support.pipelines import basic as pipelines  # noqa: F401 - registers them
from tests.support.pipelines import deduplicated as shared_starts  # noqa: F401 - registers them

pytestmark = pytest.mark.django_db

WAITING = """
INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, due_at, sort_at, lease, failures,
    progress_note, created_at, debounce_key, singleton_key)
SELECT gen_random_uuid(), 'starts/gather', 'scheduled', '', '{}', 0, '{"numbers": [1]}', now(), now(), 0, 0, '', now(),
    '=' || number, '=' || number
FROM generate_series(1, 5000) number
"""
KEYS = """
INSERT INTO taskqueue_idempotencykey (pipeline_id, key, task_id, expires_at, payload_digest)
SELECT 'starts/gather', 'key ' || row_number() OVER (), id, now() + interval '1 day', '' FROM taskqueue_task
"""
VALUES = {
    "pipeline": "starts/gather",
    "debounce_key": "=77",
    "singleton_key": "=77",
    "payload": '{"numbers": [2]}',
    "labels": "{}",
    "subject": "",
    "priority": 0,
    "key": "",
    "concurrency_key": "",
    "version": "",
    "delay": timedelta(seconds=1),
    "longest": None,
    "start_within": None,
    "finish_within": None,
    "cancel_grace": None,
    "notify_completion": False,
    "reason": "",
    "field": "numbers",
    "size": 10,
    "most_bytes": 1000,
    "id": uuid7(),
}


@pytest.fixture(autouse=True, scope="module", params=STATISTICS)
def _full_table(request, module_transaction):
    """Finished tasks, and many that wait."""
    with rolled_back():
        forget_statistics()
        with unchecked() as cursor:
            cursor.execute(HISTORY, [None])
            cursor.execute(WAITING)
            cursor.execute(KEYS)
            if request.param:
                cursor.execute("ANALYZE taskqueue_task, taskqueue_idempotencykey")
        yield


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (sql.DEBOUNCE, "taskqueue_task_debounce_once"),
        (sql.ADD_TO_BATCH, "taskqueue_task_debounce_once"),
    ],
)
def test_the_shared_task_is_found_by_its_index(statement, index):
    tree = explain(statement, VALUES)

    assert not sequential_scans(tree)
    assert index in {node.get("Index Name") for node in tree}
    assert max(node["Actual Rows"] for node in tree if node.get("Relation Name") == "taskqueue_task") <= 1


def test_a_taken_key_is_found_by_its_index():
    options = ("window", "run_at", "rerun_of", "cron_at", "event", "parent", "parent_key", "depth", "traceparent")
    request = {
        **VALUES,
        "key": "key 7",
        "force": False,
        "payload_digest": "",
        **dict.fromkeys(options),
        **notification(),
    }

    for statement in (sql.TASK_OF_KEY, sql.RESERVE_KEY, sql.ENQUEUE):
        tree = explain(statement, request)

        (read,) = [node for node in tree if node.get("Alias") == "taken"]
        assert "pipeline_id" in read["Index Cond"]
        assert rows_read([read], "taskqueue_idempotencykey") == 1
        assert not sequential_scans(tree)
