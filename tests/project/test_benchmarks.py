"""The benchmarks' sketch keeps the promise that makes it a floor, and their help text explains each row."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from psycopg.conninfo import make_conninfo

from benchmarks import sketch
from taskqueue.models import Task
from taskqueue.testing import InProcessWorker
from tests.support.processes.processes import ROOT
from tests.support.registries import own_registry
from tests.support.waiting import eventually

COMMITS = "SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM {tasks} UNION ALL SELECT xmin FROM {steps}) AS rows"


@pytest.fixture
def conninfo(db: None) -> Iterator[str]:
    """A schema of the test database for the sketch's tables, in libpq's words."""
    connection.ensure_connection()
    info = connection.connection.info
    words: dict[str, Any] = {**info.get_parameters(), "password": info.password or None}
    with sketch.connect(make_conninfo(**words)) as client:
        client.execute("CREATE SCHEMA sketch")
        try:
            yield make_conninfo(**{**words, "options": "-c search_path=sketch"})
        finally:
            client.execute("DROP SCHEMA sketch CASCADE")


@pytest.fixture
def client(conninfo: str) -> Iterator[sketch.Connection]:
    with sketch.connect(conninfo) as client:
        sketch.create_tables(client)
        yield client


def run_all(client: sketch.Connection) -> None:
    lease = sketch.claim(client, sketch.register(client))
    while lease is not None:
        lease = sketch.execute(client, lease)


def rows(client: sketch.Connection, statement: str) -> list[tuple[Any, ...]]:
    return client.execute(statement.encode()).fetchall()


def test_the_sketch_executes_tasks_one_after_the_other(client):
    sketch.enqueue(client, 3, 10)
    with client.transaction():
        sketch.enqueue_many(client, 1, [20, 30])

    run_all(client)

    assert rows(client, "SELECT status, result FROM sketch_task ORDER BY id") == [
        ("succeeded", 12),
        ("succeeded", 20),
        ("succeeded", 30),
    ]
    assert rows(client, "SELECT key, output FROM sketch_step ORDER BY task_id, key") == [
        ("nothing#1", 10),
        ("nothing#2", 11),
        ("nothing#3", 12),
        ("nothing#1", 20),
        ("nothing#1", 30),
    ]


def test_a_dead_worker_of_the_sketch_loses_its_lease(client, conninfo):
    sketch.enqueue(client, 2, 10)
    with sketch.connect(conninfo) as killed:
        lost = sketch.claim(killed, sketch.register(killed))
        assert lost is not None
        sketch.recover(client)
        assert sketch.checkpoint(killed, lost, "nothing#1", 0), "it is alive"

    eventually(lambda: sketch.live_workers(client) == 0)
    sketch.recover(client)
    run_all(client)

    assert not sketch.checkpoint(client, lost, "nothing#3", 0)
    assert sketch.end(client, lost, 0) is None
    assert rows(client, "SELECT lease, result FROM sketch_task") == [(2, 11)]
    assert rows(client, "SELECT key, output FROM sketch_step ORDER BY key") == [("nothing#1", 0), ("nothing#2", 11)]


@pytest.mark.django_db(transaction=True)
def test_tasks_cost_the_sketch_as_many_commits_as_the_engine(client):
    with own_registry(), InProcessWorker() as worker:
        from benchmarks.pipelines import five_steps, one_step

        one_step.enqueue(1)
        five_steps.enqueue(1)
        worker.work()
    sketch.enqueue(client, 1, 1)
    sketch.enqueue(client, 5, 1)
    run_all(client)

    with connection.cursor() as cursor:
        cursor.execute(COMMITS.format(tasks="taskqueue_task", steps="taskqueue_step"))
        ours = cursor.fetchall()
    assert not Task.objects.exclude(status="succeeded").exists()
    assert rows(client, COMMITS.format(tasks="sketch_task", steps="sketch_step")) == ours == [(1 + 5,)]


def test_the_help_text_explains_rows_and_ratios():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "ours divided by the floor's" in done.stdout
    assert "one-step tasks, new database [tasks/s; floor: sketch; wanted: ≥ 0.8]" in done.stdout
