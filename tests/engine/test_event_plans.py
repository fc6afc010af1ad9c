"""Routing and looking back cost the same however many wait and however much has happened."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from taskqueue import pipeline, wait_for
from taskqueue.engine import statements
from taskqueue.engine.events import send
from taskqueue.ids import earliest_at
from taskqueue.models import Task
from taskqueue.policies import match_digest
from taskqueue.testing import work
from tests.engine.test_plans import explain, walked

pytestmark = pytest.mark.django_db

MANY_WAITS = """
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, created_at, outcome)
SELECT %s, 'w' || n, 0, 'plans/go', '{}', CASE WHEN n %% 2 = 0 THEN 'order' ELSE 'order,tenant' END, md5(n::text),
    now(), ''
FROM generate_series(1, 20000) n
"""
MANY_EVENTS = """
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, received_at, routed_at)
SELECT gen_random_uuid(), CASE WHEN n % 4 = 0 THEN 'plans/go' ELSE 'plans/other' END, jsonb_build_object('order', n),
    '', '', now() - interval '1 hour', now()
FROM generate_series(1, 20000) n
"""


@pipeline("plans/waits")
def waits(order: int) -> object:
    return wait_for("plans/go", match={"order": order}, timeout=timedelta(hours=1))


def touched(tree, relation):
    return sum(n["Actual Rows"] * n["Actual Loops"] for n in tree if n.get("Relation Name") == relation)


@pytest.fixture(params=[True, False], ids=["with statistics", "without statistics"])
def task(request):
    task = waits.enqueue(-7)
    work()
    with connection.cursor() as cursor:
        cursor.execute(MANY_WAITS, [task.pk])
        cursor.execute(MANY_EVENTS)
        if request.param:
            cursor.execute("ANALYZE taskqueue_wait, taskqueue_event")
    return task


def test_an_event_finds_its_wait_among_many_by_index(task):
    fields = explain(statements.OPEN_FIELDS, {"name": "plans/go"})
    sought = {"name": "plans/go", "fields": ["order"], "digests": [match_digest({"order": -7})]}
    found = explain(statements.OPEN_WAITS, sought)

    assert not walked(fields)
    assert touched(fields, "taskqueue_wait") <= 4
    assert not walked(found)
    assert touched(found, "taskqueue_wait") == 1


def test_looking_back_finds_an_event_among_many_by_index(task):
    send("plans/go", {"order": -7})
    values = {"task": task.pk, "name": "plans/go", "within": '{"order": -7}', "since": earliest_at(task.created_at)}

    tree = explain(statements.LOOK_BACK, values)

    assert not walked(tree)
    assert Task.objects.count() == 1
