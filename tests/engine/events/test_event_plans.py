"""Routing and looking back cost the same however many wait and however much has happened."""

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
from tests.support.database.backlogs import STATISTICS, forget_statistics, unchecked
from tests.support.database.plans import explain, touched, walked

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
    """One that waits, among 20,000 open waits for the name and after 20,000 events since it was made."""
    forget_statistics()
    task = waits.enqueue(-7)
    work()
    with unchecked() as cursor:
        cursor.execute(MANY_WAITS, [task.pk])
        cursor.execute(MANY_EVENTS)
        cursor.execute(MANY_TASKS)
        if request.param:
            # As the autovacuum does, which also analyses.
            cursor.execute("SELECT gin_clean_pending_list('taskqueue_event_by_data')")
            cursor.execute("ANALYZE taskqueue_wait, taskqueue_event, taskqueue_task, taskqueue_step")
    return task


def has_statistics():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'taskqueue_event'")
        return cursor.fetchone()[0] > 0


def facts_for_look_back(task):
    facts = {"task": task.pk, "created_at": task.created_at, "started_by": None, "since": earliest_at(task.created_at)}
    return {**facts, "name": "plans/go", "within": '{"order": -7}'}


def test_an_event_finds_its_wait_among_many_by_index(task):
    event = send("plans/go", {"order": -7})
    sought = {"name": "plans/go", "fields": ["order"], "digests": [match_digest({"order": -7})], "event": event.pk}
    values = {**sought, "received_at": event.received_at, "arrival": "{}", "spared": []}

    for statement in ("LOCK_LISTENERS", "RESOLVE_ALL", "CANCELLED_BY"):
        tree = explain(getattr(sql, statement), values)

        assert not walked(tree), statement
        assert touched(tree, "taskqueue_wait") <= 4, statement
        assert touched(tree, "taskqueue_task") <= 2, statement


def test_the_fields_that_are_waited_for_are_found_by_one_probe_each(task):
    tree = explain(sql.OPEN_FIELDS, {"name": "plans/go"})

    assert not walked(tree)
    assert touched(tree, "taskqueue_wait") <= 4


def test_looking_back_finds_an_event_among_many_by_index(task):
    send("plans/go", {"order": -7})

    # It stops at twenty. As three events of four are of this name, some of others may lie between.
    for statement, most in (("LOOK_BACK_FOR", 2), ("LOOK_BACK", 80)):
        tree = explain(getattr(sql, statement), facts_for_look_back(task))

        assert not walked(tree), statement
        # Without statistics it reads the events of the name since the task was made, and no others.
        assert touched(tree, "taskqueue_event") <= (most if has_statistics() else 15_001), statement


def test_sweeping_reads_only_what_has_not_been_routed(task):
    send("plans/go", {"order": -7})

    tree = explain(sql.UNROUTED, {"after": UUID(int=0)})

    assert not walked(tree)
    assert touched(tree, "taskqueue_event") == 1


def test_one_event_reaches_thousands_of_waits_in_a_handful_of_statements(django_assert_max_num_queries):
    tasks = [waits.enqueue(1) for _ in range(50)]
    work()

    with django_assert_max_num_queries(20):
        assert route(send("plans/go", {"order": 1}).pk)

    assert Task.objects.filter(status="queued").count() == len(tasks)
