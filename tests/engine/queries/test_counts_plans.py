"""Counting unfinished tasks reads a bounded number of rows, however many tasks there are."""

from __future__ import annotations

import pytest

from taskqueue.engine.queries import pipeline_stats
from taskqueue.engine.queries.pipeline_stats import UNFINISHED
from taskqueue.engine.sql import fetch
from taskqueue.engine.sql.history import rollups
from taskqueue.engine.sql.queries import tasks
from taskqueue.states import TaskStatus
from tests.support.database.backlogs import QUEUED, insert
from tests.support.database.plans import nodes, plan, sequential_scans, tasks_read

pytestmark = pytest.mark.django_db


def test_counting_reads_at_most_the_limit_of_each_status(full):
    insert(QUEUED, "engine/one-step", 10_000)
    fetch(rollups.FORCE_INDEX_ORDER, {})
    tree = list(nodes(plan(tasks.COUNT_BY_PIPELINE, {"statuses": list(UNFINISHED)})[0]["Plan"]))

    assert sequential_scans(tree) == []
    assert tasks_read(tree) <= tasks.COUNT_BY_PIPELINE_CAP + 2_000


def test_a_status_counted_to_the_limit_is_capped(full):
    insert(QUEUED, "engine/one-step", 10_000)

    counted = pipeline_stats.unfinished()

    assert counted.capped == {TaskStatus.QUEUED}
    assert sum(number for (_pipeline, status), number in counted.numbers.items() if status == "queued") == 10_000
    assert counted.numbers["engine/three-steps", TaskStatus.RUNNING] == 2_000


def test_readiness_reads_at_most_the_limit_of_each_queue(full):
    fetch(rollups.FORCE_INDEX_ORDER, {})
    tree = list(nodes(plan(rollups.COUNT_READY, {})[0]["Plan"]))

    assert sequential_scans(tree) == []
    assert tasks_read(tree) <= 3_000
    assert {each.pipeline: each.claimable for each in pipeline_stats.readiness()}["engine/one-step"] == 1_000
