"""A task table after a busy day."""

from __future__ import annotations

import pytest

from taskqueue.models import ConcurrencyLimit
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import (
    ENDED,
    QUEUED,
    RUNNING,
    STATISTICS,
    forget_statistics,
    insert,
    rolled_back,
    unchecked,
)

# Spread over a day: fourteen ends per minute.
SPREAD = """
UPDATE taskqueue_task SET finished_at = '2026-01-01 00:00Z'::timestamptz + interval '1 day' * random()
WHERE finished_at IS NOT NULL
"""


@pytest.fixture(scope="module", params=STATISTICS)
def full(request, module_transaction):
    """A day of history, a long backlog, keys, and a full concurrency limit."""
    with rolled_back(), InProcessWorker() as worker:
        forget_statistics()
        insert(ENDED, "engine/one-step", 20_000, worker=worker.row.pk)
        insert(QUEUED, "engine/one-step", 5_000)
        insert(QUEUED, "engine/three-steps", 3_000, keys=100)
        insert(RUNNING, "engine/three-steps", 2_000, keys=100, worker=worker.row.pk)
        ConcurrencyLimit.objects.update_or_create(
            pipeline_id="engine/three-steps", defaults={"tasks": 10, "tasks_per_key": 1}
        )
        with unchecked() as cursor:
            cursor.execute(SPREAD)
            if request.param:
                cursor.execute("ANALYZE taskqueue_task")
        yield
