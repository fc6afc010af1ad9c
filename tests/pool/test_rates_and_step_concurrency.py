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

# What was admitted, and when: a trigger records each change of the rate's row, by the database's clock.
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

# The most steps that ran at once, at the start of any step, by their recorded times.
MOST_AT_ONCE = """
SELECT max((
    SELECT count(*) FROM taskqueue_step other
    WHERE other.started_at <= step.started_at AND other.finished_at > step.started_at
)) FROM taskqueue_step step WHERE step.name = 'nap-two-at-a-time'
"""


@pytest.fixture
def passes(transactional_db):
    """Record when a rate admits a call."""
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

    eventually(all_done, details=lambda: first.output() + second.output())

    most, passed = one(FULLEST_SECOND)
    assert passed == 40
    assert most <= 10
    assert Worker.objects.count() == 4
    # By the clocks of the workers, which differ a little: there is no burst.
    started = sorted(Step.objects.values_list("started_at", flat=True))
    assert started[-1] - started[0] >= timedelta(seconds=3.8)


@pytest.mark.slow
def test_a_rate_holds_after_all_workers_were_busy(passes, start, notes):
    first, second = start(), start()
    for number in range(12):
        enqueue.enqueue("tests/rated", {"number": number})
    eventually(lambda: Task.objects.filter(status="waiting").exists(), details=first.output)
    for _ in range(4):
        enqueue.enqueue("tests/nap", {"seconds": 1.5})

    eventually(all_done, details=lambda: first.output() + second.output())

    most, passed = one(FULLEST_SECOND)
    assert passed == 12
    assert most <= 10


@pytest.mark.slow
def test_a_throttle_holds_over_two_clusters(start, notes):
    first, second = start(), start()
    for number in range(20):
        enqueue.enqueue("tests/throttled", {"number": number})

    eventually(all_done, details=lambda: first.output() + second.output())

    started = list(Task.objects.values_list("started_at", flat=True))
    assert max(sum(begin <= each < begin + timedelta(seconds=1) for each in started) for begin in started) <= 10


def test_steps_run_up_to_their_limit_over_two_clusters(start, notes):
    first, second = start(), start()
    tasks = [enqueue.enqueue("tests/two-at-a-time", {"seconds": 0.15}) for _ in range(12)]

    eventually(all_done, details=lambda: first.output() + second.output())

    assert one(MOST_AT_ONCE) == (2,)
    assert len(workers_of(tasks)) > 1
    assert Step.objects.filter(name="nap-two-at-a-time").count() == 24
