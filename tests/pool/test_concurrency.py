"""Concurrency limits over two clusters of two worker processes each."""

from __future__ import annotations

import os
import signal

import pytest
from django.db import connection

from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Task, Worker
from tests.support.processes.worker_command import all_done, workers_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

# The most slots taken at the admission of any task, in total or per key, by the database's clock.
MOST_AT_ONCE = """
SELECT max((
    SELECT count(*) FROM taskqueue_task other
    WHERE other.pipeline_id = task.pipeline_id AND (other."concurrency_key" = task."concurrency_key" OR NOT %(by_key)s)
        AND other.slot_acquired_at <= task.slot_acquired_at AND other.finished_at > task.slot_acquired_at
)) FROM taskqueue_task task WHERE task.pipeline_id = %(pipeline)s
"""


def most_at_once(pipeline, *, by_key=False):
    with connection.cursor() as cursor:
        cursor.execute(MOST_AT_ONCE, {"pipeline": pipeline, "by_key": by_key})
        return cursor.fetchone()[0]


@pytest.mark.slow
def test_tasks_run_up_to_their_limit_over_two_clusters(start, notes):
    first, second = start(), start()
    tasks = [enqueue.enqueue("tests/three-at-a-time", {"seconds": 0.2}) for _ in range(20)]

    eventually(all_done, details=lambda: first.output() + second.output())

    assert most_at_once("tests/three-at-a-time") == 3
    assert len(workers_of(tasks)) > 1


@pytest.mark.slow
def test_each_key_has_its_own_slot(start, notes):
    first, second = start(), start()
    for number in range(24):
        enqueue.enqueue("tests/one-of-each", {"tenant": f"tenant {number % 3}", "seconds": 0.15})

    eventually(all_done, details=lambda: first.output() + second.output())

    assert most_at_once("tests/one-of-each", by_key=True) == 1
    assert most_at_once("tests/one-of-each") >= 2


def test_a_killed_worker_releases_its_slot(start, notes):
    first, second = start(), start()
    tasks = [enqueue.enqueue("tests/three-at-a-time", {"seconds": 0.5}) for _ in range(9)]
    at_work = Task.objects.filter(status="running")
    eventually(lambda: at_work.count() == 3, details=first.output)

    os.kill(Worker.objects.filter(tasks__status="running").earliest("pk").pid, signal.SIGKILL)
    eventually(all_done, details=lambda: first.output() + second.output())

    assert most_at_once("tests/three-at-a-time") == 3
    assert not Task.objects.filter(slot_pipeline__isnull=False).exists()
    assert Task.objects.filter(pk__in=[task.pk for task in tasks], lease__gte=2).count() == 1
