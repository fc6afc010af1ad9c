"""Blocked time of tasks and steps, sampled once a minute."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskqueue.engine.maintenance import rollups
from taskqueue.models import ConcurrencyLimit, Rollup, Task
from taskqueue.testing import InProcessWorker
from tests.support.database.backlogs import QUEUED, RUNNING, insert

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_full_key_blocks_only_its_own_tasks():
    with InProcessWorker() as worker:
        insert(RUNNING, "engine/three-steps", 1, keys=2, worker=worker.row.pk)
        insert(QUEUED, "engine/three-steps", 10, keys=2)
        ConcurrencyLimit.objects.update_or_create(
            pipeline_id="engine/three-steps", defaults={"tasks": None, "tasks_per_key": 1}
        )

        rollups.sample(NOON)

    assert Rollup.objects.get(span=1, pipeline="engine/three-steps").sampled_blocked_seconds == 5 * 60


def test_a_step_that_waits_for_a_slot_or_rate_counts_as_blocked():
    insert(QUEUED, "engine/three-steps", 3)
    Task.objects.update(status="waiting", blocked_on="step limit", due_at=None, sort_at=None)
    insert(QUEUED, "engine/one-step", 2)
    Task.objects.filter(status="queued").update(status="waiting", blocked_on="some-api")

    rollups.sample(NOON)

    lost = dict(Rollup.objects.filter(span=1, at=NOON).values_list("pipeline", "sampled_blocked_seconds"))
    assert lost == {"engine/three-steps": 180, "engine/one-step": 120, "": 300}
