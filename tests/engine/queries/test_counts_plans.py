"""Counting what has not ended reads no more than its cap, and the last hour its rollups, whatever the tables hold."""

from __future__ import annotations

import pytest

from taskqueue.engine.queries import counts
from taskqueue.engine.queries.counts import UNFINISHED
from taskqueue.engine.sql import fetch, rollups, tasks
from taskqueue.states import TaskStatus
from tests.support.database.backlogs import QUEUED, insert
from tests.support.database.plans import nodes, plan, tasks_read, walked

pytestmark = pytest.mark.django_db


def test_the_census_reads_no_more_of_a_status_than_its_cap(full):
    insert(QUEUED, "engine/one-step", 10_000)
    fetch(rollups.IN_ORDER, {})
    tree = list(nodes(plan(tasks.CENSUS, {"statuses": list(UNFINISHED)})[0]["Plan"]))

    assert walked(tree) == []
    assert tasks_read(tree) <= tasks.CENSUS_MOST + 2_000


def test_what_is_counted_to_the_cap_says_so(full):
    insert(QUEUED, "engine/one-step", 10_000)

    counted = counts.unfinished()

    assert counted.capped == {TaskStatus.QUEUED}
    assert sum(number for (_pipeline, status), number in counted.numbers.items() if status == "queued") == 10_000
    assert counted.numbers["engine/three-steps", TaskStatus.RUNNING] == 2_000


def test_what_could_run_is_read_to_the_cap_of_each_queue(full):
    fetch(rollups.IN_ORDER, {})
    tree = list(nodes(plan(rollups.READY_NOW, {})[0]["Plan"]))

    assert walked(tree) == []
    assert tasks_read(tree) <= 3_000
    assert {each.pipeline: each.claimable for each in counts.readiness()}["engine/one-step"] == 1_000
