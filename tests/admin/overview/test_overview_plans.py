"""The overview reads by indexes, however many tasks there are."""

from __future__ import annotations

from django.db import connection

from taskqueue.admin.overview.queries import FAILURES_SHOWN, recent_failures
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import ENDED, forget_statistics, insert
from tests.support.database.plans import explain, sequential_scans
from tests.support.moves import arranging


def test_recent_failures_are_read_by_an_index():
    forget_statistics()
    with InProcessWorker() as worker:
        sync_pipelines()
        insert(ENDED, "demo/task", 20_000, worker=worker.row.pk)
        with arranging(), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE taskqueue_task SET status = 'failed', error = '{}' WHERE id IN "
                "(SELECT id FROM taskqueue_task ORDER BY random() LIMIT 2000)"
            )
            cursor.execute("UPDATE taskqueue_task SET finished_at = now() - random() * interval '1 day'")
            cursor.execute("ANALYZE taskqueue_task")
        tree = explain(*recent_failures()[:FAILURES_SHOWN].query.sql_with_params())

    assert "taskqueue_task_failed" in {node.get("Index Name") for node in tree}
    assert not sequential_scans(tree)
    assert max(node["Actual Rows"] for node in tree) <= FAILURES_SHOWN + 1
