"""Rates and step limits over two clusters of two worker processes each."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Step, Task, Worker
from tests.support.processes.worker_command import all_done, workers_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

# What passed, and by which clock: the database's own note of each change of the rate's row.
NOTE = """
CREATE TABLE passes (at timestamptz, key text);
CREATE FUNCTION note_pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO passes VALUES (NEW.last_admitted_at, NEW.key); RETURN NULL; END $$;
CREATE TRIGGER note_first AFTER INSERT ON taskqueue_ratelimitbucket FOR EACH ROW EXECUTE FUNCTION note_pass();
CREATE TRIGGER note_next AFTER UPDATE ON taskqueue_ratelimitbucket FOR EACH ROW
WHEN (OLD.admitted < NEW.admitted) EXECUTE FUNCTION note_pass();
"""
FORGET = "DROP TABLE passes; DROP FUNCTION note_pass CASCADE;"

FULLEST_SECOND = """
SELECT max((
    SELECT count(*) FROM passes other WHERE other.at >= passes.at AND other.at < passes.at + interval '1 second'
)), count(*) FROM passes
"""

# How many steps executed at once at the beginning of each, by what was recorded of them.
MOST_AT_ONCE = """
SELECT max((
    SELECT count(*) FROM taskqueue_step other
    WHERE other.started_at <= step.started_at AND other.finished_at > step.started_at
)) FROM taskqueue_step step WHERE step.name = 'nap-in-turn'
"""


@pytest.fixture
def passes(transactional_db):
    """Note when something passes a rate."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE)
    yield
    with connection.cursor() as cursor:
        cursor.execute(FORGET)


def one(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def test_a_rate_holds_over_two_clusters_and_two_pipelines(passes, start, notes):
    first, second = start(), start()
    for number in range(20):
        enqueue.enqueue("tests/rated", {"number": number})
        enqueue.enqueue("tests/also-rated", {"number": number})

    eventually(all_done, otherwise=lambda: first.said() + second.said())

    most, passed = one(FULLEST_SECOND)
    assert passed == 40
    assert most <= 10
    assert Worker.objects.count() == 4
    # By the clocks of the workers, whose messages take their time: nothing like a rush.
    started = sorted(Step.objects.values_list("started_at", flat=True))
    assert started[-1] - started[0] >= timedelta(seconds=3.8)


@pytest.mark.slow
def test_a_rate_holds_when_all_workers_were_busy_while_times_passed(passes, start, notes):
    first, second = start(), start()
    for number in range(12):
        enqueue.enqueue("tests/rated", {"number": number})
    eventually(lambda: Task.objects.filter(status="waiting").exists(), otherwise=first.said)
    for _ in range(4):
        enqueue.enqueue("tests/nap", {"seconds": 1.5})

    eventually(all_done, otherwise=lambda: first.said() + second.said())

    most, passed = one(FULLEST_SECOND)
    assert passed == 12
    assert most <= 10


@pytest.mark.slow
def test_starts_of_a_throttled_pipeline_hold_their_rate_over_two_clusters(start, notes):
    first, second = start(), start()
    for number in range(20):
        enqueue.enqueue("tests/throttled", {"number": number})

    eventually(all_done, otherwise=lambda: first.said() + second.said())

    started = list(Task.objects.values_list("started_at", flat=True))
    assert max(sum(begin <= each < begin + timedelta(seconds=1) for each in started) for begin in started) <= 10


def test_no_more_steps_execute_at_once_than_their_limit_over_two_clusters_and_as_many(start, notes):
    first, second = start(), start()
    tasks = [enqueue.enqueue("tests/in-turn", {"seconds": 0.15}) for _ in range(12)]

    eventually(all_done, otherwise=lambda: first.said() + second.said())

    assert one(MOST_AT_ONCE) == (2,)
    assert len(workers_of(tasks)) > 1
    assert Step.objects.filter(name="nap-in-turn").count() == 24
