"""Routing an event and finding an earlier event read few rows, among many waits and events."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from taskqueue import pipeline, wait_for
from taskqueue.engine import sql
from taskqueue.engine.events.route import route
from taskqueue.engine.events.send import send
from taskqueue.ids import earliest_at
from taskqueue.models import Task
from taskqueue.policies import match_digest
from taskqueue.testing import work
from tests.support.database.backlogs import STATISTICS, forget_statistics, rolled_back, unchecked
from tests.support.database.plans import explain, rows_read, sequential_scans

pytestmark = pytest.mark.django_db

MANY_WAITS = """
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, created_at, outcome)
SELECT %s, 'w' || n, 0, 'plans/go', '{}', CASE WHEN n %% 2 = 0 THEN 'order' ELSE 'order,tenant' END, md5(n::text),
    now(), ''
FROM generate_series(1, 20000) n
"""
MANY_EVENTS = """
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, received_at, routed_at)
SELECT (overlay(gen_random_uuid()::text PLACING 'ffffffff' FROM 1 FOR 8))::uuid,
    CASE WHEN n % 4 = 0 THEN 'plans/other' ELSE 'plans/go' END, jsonb_build_object('order', n, 'shop', 'a'),
    '', '', statement_timestamp(), statement_timestamp()
FROM generate_series(1, 20000) n
"""
MANY_TASKS = """
WITH task AS (
    INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, lease, failures,
        progress_note, created_at, started_at, finished_at)
    SELECT gen_random_uuid(), 'plans/waits', 'succeeded', '', '{}', 0, '{}', 1, 0, '', now(), now(), now()
    FROM generate_series(1, 5000)
    RETURNING id
)
INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input_hash, output, started_at, finished_at)
SELECT id, 'plans/go', 'plans/go', 'wait', 'succeeded', 0, '', '{}', now(), now() FROM task
"""


@pipeline("plans/waits")
def waits(order: int) -> object:
    return wait_for("plans/go", match={"order": order}, timeout=timedelta(hours=1))


@pytest.fixture(scope="module", params=STATISTICS)
def task(request, module_transaction):
    """A waiting task among 20,000 open waits for its event name, with 20,000 later events."""
    with rolled_back():
        forget_statistics()
        task = waits.enqueue(-7)
        work()
        with unchecked() as cursor:
            cursor.execute(MANY_WAITS, [task.pk])
            cursor.execute(MANY_EVENTS)
            cursor.execute(MANY_TASKS)
            if request.param:
                # Autovacuum does both.
                cursor.execute("SELECT gin_clean_pending_list('taskqueue_event_by_data')")
                cursor.execute("ANALYZE taskqueue_wait, taskqueue_event, taskqueue_task, taskqueue_step")
        yield task


def has_statistics():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'taskqueue_event'")
        return cursor.fetchone()[0] > 0


def look_back_values(task):
    values = {"task": task.pk, "created_at": task.created_at, "started_by": None, "since": earliest_at(task.created_at)}
    return {**values, "name": "plans/go", "within": '{"order": -7}'}


def test_an_event_finds_its_wait_among_many_by_index(task):
    event = send("plans/go", {"order": -7})
    match = {"name": "plans/go", "fields": ["order"], "digests": [match_digest({"order": -7})], "event": event.pk}
    values = {**match, "received_at": event.received_at, "arrival": "{}", "spared": []}

    for statement in ("LOCK_WAITING_TASKS", "RESOLVE_WAITS", "RESOLVE_CANCEL_WAITS"):
        tree = explain(getattr(sql, statement), values)

        assert not sequential_scans(tree), statement
        assert rows_read(tree, "taskqueue_wait") <= 4, statement
        assert rows_read(tree, "taskqueue_task") <= 2, statement


def test_each_matched_field_is_found_by_one_probe(task):
    tree = explain(sql.OPEN_WAIT_FIELDS, {"name": "plans/go"})

    assert not sequential_scans(tree)
    assert rows_read(tree, "taskqueue_wait") <= 4


def test_a_new_wait_finds_an_earlier_event_by_index(task):
    send("plans/go", {"order": -7})

    # The statement reads twenty events of the name. Three of four events have it, so it passes some others.
    for statement, most in (("FIND_EARLIER_MATCHES", 2), ("FIND_EARLIER_EVENTS", 80)):
        tree = explain(getattr(sql, statement), look_back_values(task))

        assert not sequential_scans(tree), statement
        # Without statistics it reads all events of the name since the task was created.
        assert rows_read(tree, "taskqueue_event") <= (most if has_statistics() else 15_001), statement


def test_the_sweep_reads_only_unrouted_events(task):
    send("plans/go", {"order": -7})

    tree = explain(sql.FIND_UNROUTED, {"after": UUID(int=0)})

    assert not sequential_scans(tree)
    assert rows_read(tree, "taskqueue_event") == 1


def test_one_event_ends_thousands_of_waits_in_few_statements(django_assert_max_num_queries):
    tasks = [waits.enqueue(1) for _ in range(50)]
    work()

    with django_assert_max_num_queries(20):
        assert route(send("plans/go", {"order": 1}).pk)

    assert Task.objects.filter(status="queued").count() == len(tasks)
