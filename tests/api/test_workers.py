"""GET /api/workers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.models.functions import Now

from taskqueue.engine.runtime import worker_states
from taskqueue.models import Worker
from taskqueue.models.worker import EVENT_LOOP
from tests.support.database.plans import explain

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def add_worker(**values: object) -> Worker:
    return Worker.objects.create(**{"host": "node-1", "pid": 7, "cluster": "c", "version": "1", **values})


def test_workers_that_have_not_ended_are_listed_by_process(api):
    add_worker(pid=9)
    add_worker(thread=1, queues=["mail"], slots=1, executing=1, step="charge")
    add_worker(thread=EVENT_LOOP, slots=100)
    add_worker(ended_at=Now())

    workers = api.get("/api/workers").json()["workers"]

    assert [worker["name"] for worker in workers] == ["node-1:7 event loop", "node-1:7 thread 2", "node-1:9"]
    assert (workers[1]["queues"], workers[1]["executing"], workers[1]["step"]) == (["mail"], 1, "charge")
    assert workers[0]["heartbeat_at"].endswith("Z")


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "live"),
        ({"heartbeat_at": LONG_AGO}, "silent"),
        ({"claim_error": "no such column"}, "claim_error"),
        ({"draining_at": LONG_AGO, "executing": 1}, "draining"),
        ({"draining_at": LONG_AGO}, "drained"),
    ],
)
def test_each_state_of_a_worker_has_a_name(api, values, state):
    add_worker(**values)

    assert [worker["state"] for worker in api.get("/api/workers").json()["workers"]] == [state]


@pytest.mark.django_db
def test_workers_are_found_by_an_index_among_ended_ones():
    values = {"host": "node-1", "pid": 7, "cluster": "c", "version": "1"}
    Worker.objects.bulk_create(Worker(**values, ended_at=LONG_AGO) for _ in range(5_000))
    add_worker()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskqueue_worker")

    tree = explain(*worker_states.unended().query.sql_with_params())

    assert "taskqueue_worker_live" in {node.get("Index Name") for node in tree}
    assert max(node["Actual Rows"] for node in tree) == 1
