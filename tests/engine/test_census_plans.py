"""Counting what has not ended reads no more than its cap, and the last hour its rollups, whatever the tables hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from taskqueue.engine import census, figures
from taskqueue.engine.census import UNFINISHED
from taskqueue.engine.statements import fetch, listing, rollups
from taskqueue.models import Rollup
from taskqueue.models.rollup import MINUTE
from taskqueue.states import TaskStatus
from tests.engine.backlogs import QUEUED, insert
from tests.engine.test_plans import nodes, plan, walked
from tests.engine.test_rollup_plans import full, tasks_read

pytestmark = pytest.mark.django_db
__all__ = ["full"]

MANY_ROLLUPS = """
INSERT INTO taskqueue_rollup (span, at, pipeline, succeeded, recovered, failed, cancelled, failed_tries, ran, waited,
    lost_seconds)
SELECT 1, %s::timestamptz - number * interval '1 minute', 'engine/' || pipeline, 1, 0, 0, 0, 0, '{}', '{}', 0
FROM generate_series(1, 2880) AS number, generate_series(1, 10) AS pipeline
"""


def test_the_census_reads_no_more_of_a_status_than_its_cap(full):
    insert(QUEUED, "engine/one-step", 10_000)
    fetch(rollups.IN_ORDER, {})
    tree = list(nodes(plan(listing.CENSUS, {"statuses": list(UNFINISHED)})[0]["Plan"]))

    assert walked(tree) == []
    assert tasks_read(tree) <= listing.CENSUS_MOST + 2_000


def test_what_is_counted_to_the_cap_says_so(full):
    insert(QUEUED, "engine/one-step", 10_000)

    counted = census.unfinished()

    assert counted.capped == {TaskStatus.QUEUED}
    assert sum(number for (_pipeline, status), number in counted.numbers.items() if status == "queued") == 10_000
    assert counted.numbers["engine/three-steps", TaskStatus.RUNNING] == 2_000


def test_what_could_run_is_read_to_the_cap_of_each_queue(full):
    fetch(rollups.IN_ORDER, {})
    tree = list(nodes(plan(rollups.READY_NOW, {})[0]["Plan"]))

    assert walked(tree) == []
    assert tasks_read(tree) <= 3_000
    assert {each.pipeline: each.claimable for each in census.readiness()}["engine/one-step"] == 1_000


def test_the_last_hour_is_sixty_rows_of_each_pipeline(db):
    now = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(MANY_ROLLUPS, [now])
        cursor.execute("ANALYZE taskqueue_rollup")
    hour = Rollup.objects.filter(span=MINUTE, at__gte=now - timedelta(hours=1), at__lt=now).order_by("at")

    said = hour.explain()

    assert "Seq Scan" not in said
    assert 59 <= figures.last_hours().of("engine/1").succeeded <= 60
