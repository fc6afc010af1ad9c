"""Rollups read the ends of their minutes and capped queues by indexes, however full the tables are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from taskqueue.engine.maintenance import rollups
from taskqueue.engine.queries import stats
from taskqueue.engine.queries.filters import TaskFilter, count_of, ids_of
from taskqueue.engine.sql import fetch
from taskqueue.engine.sql.history import ends
from taskqueue.engine.sql.history import rollups as statements
from taskqueue.engine.sql.history import stats as figure_statements
from taskqueue.models import Rollup
from tests.support.database.backlogs import unchecked
from tests.support.database.plans import explain, nodes, plan, sequential_scans, tasks_read

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


MINUTE = {"start": NOON, "until": NOON + timedelta(minutes=1)}


@pytest.mark.parametrize(
    ("statement", "values", "most"),
    [
        (statements.ROLL_MINUTES, MINUTE, 60),
        (statements.FIRST_END, {"since": NOON}, 2),
        (statements.COUNT_QUEUED, {}, 3_000),
        (statements.SAMPLE_QUEUES, {"at": NOON}, 3_000),
    ],
    ids=["minutes", "first end", "standing", "sample"],
)
def test_no_statement_reads_more_than_it_needs(full, statement, values, most):
    if statement in {statements.COUNT_QUEUED, statements.SAMPLE_QUEUES}:
        fetch(statements.FORCE_INDEX_ORDER, {})
    tree = list(nodes(plan(statement, values)[0]["Plan"]))

    assert "taskqueue_task" not in sequential_scans(tree)
    assert tasks_read(tree) <= most


def test_queue_depths_are_counted_up_to_the_cap(full):
    standing = stats.queue_depths()

    assert standing["engine/one-step"].number == 1_000
    assert standing["engine/one-step"].is_capped
    assert standing["engine/three-steps"].number == 1_000
    assert standing["engine/three-steps"].oldest is not None
    assert timedelta(minutes=59) < standing["engine/three-steps"].oldest < timedelta(minutes=62)


def test_tasks_at_a_full_limit_count_as_blocked_time(full):
    rollups.sample(NOON)

    lost = dict(Rollup.objects.filter(span=1, at=NOON).values_list("pipeline", "sampled_blocked_seconds"))
    assert lost == {"engine/three-steps": 60_000, "engine/one-step": 0, "": 60_000}  # a thousand tasks, for a minute


HOUR = {"start": NOON, "until": NOON + timedelta(hours=1)}


@pytest.fixture
def failures(full):
    """A tenth of the history failed."""
    with unchecked() as cursor:
        cursor.execute(
            'UPDATE taskqueue_task SET status = \'failed\', error = \'{"type": "E", "step": "a#2"}\' '
            "WHERE finished_at IS NOT NULL AND random() < 0.1"
        )


def test_failed_tasks_are_found_by_an_index(failures):
    tree = list(nodes(plan(figure_statements.FAILURE_GROUPS, {**HOUR, "most": 6})[0]["Plan"]))

    assert "taskqueue_task_failed" in {node.get("Index Name") for node in tree}
    assert "taskqueue_task" not in sequential_scans(tree)
    assert tasks_read(tree) < 200  # of some 83 in an hour


def test_the_task_list_of_a_failure_group_uses_that_index(failures):
    asked = TaskFilter(statuses=("failed",), ended=(NOON, NOON + timedelta(hours=1)), failure=("E", "a"))

    tree = explain(*ids_of(asked, limit=50).query.sql_with_params())

    assert "taskqueue_task_failed" in {node.get("Index Name") for node in tree}
    assert tasks_read(tree) < 400
    [group] = [row for row in fetch(figure_statements.FAILURE_GROUPS, {**HOUR, "most": 6}) if row[0] == "E"]
    assert group[3] == count_of(asked)


def test_reopened_ends_touch_only_their_own_rollups(full):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO taskqueue_rollup (span, at, pipeline, succeeded, recovered, failed, cancelled, "
            "failed_attempts, ran, waited, sampled_blocked_seconds) "
            "SELECT 1, %s - number * interval '1 minute', 'engine/one-step', 0, 0, 0, 0, 0, "
            "'{}', '{}', 0 FROM generate_series(1, 2880) AS number",
            [NOON],
        )
        cursor.execute("ANALYZE taskqueue_rollup")
    tree = list(nodes(plan(ends.SUBTRACT_REOPENED, {"final_until": NOON})[0]["Plan"]))

    assert [node for node in tree if node["Node Type"] == "Seq Scan" and node["Actual Rows"] > 10] == []
