"""Why a queued task is not running: its rate, its queue position, and the number of queries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.queries.reasons import Code, time_text
from taskqueue.engine.queries.why import why
from taskqueue.errors import TaskNotFound
from taskqueue.ids import uuid7
from taskqueue.models import RateLimitBucket, Task, Worker
from taskqueue.testing import InProcessWorker, advance
from tests.support.leases import take
from tests.support.pipelines.basic import one_step, three_steps
from tests.support.pipelines.waiting import CROWD, codes, limited, only, reasons, throttled, waiting

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def test_an_exhausted_rate_names_its_next_free_time(worker):
    tasks = [throttled.enqueue() for _ in range(4)]
    worker.work()

    booked = reasons(tasks[1])[0]
    tasks[1].refresh_from_db()
    assert booked.sentence == (
        f"Its start at rate why-starts, which allows 1 per 10 minutes, is at {time_text(tasks[1].due_at)}. "
        "0 tasks have an earlier time."
    )
    assert codes(tasks[3]) == [Code.THROTTLE, Code.QUEUED]
    late = reasons(tasks[3])[0]
    free_at = RateLimitBucket.objects.get().theoretical_arrival_at
    assert late.sentence == (
        f"Starts are limited to 1 per 10 minutes by rate why-starts; the next free start is at {time_text(free_at)}."
    )
    RateLimitBucket.objects.update(blocked_until=free_at + timedelta(hours=1), block_reason="asked to wait")
    assert reasons(tasks[3])[0].sentence.endswith(
        f"The rate is blocked until {time_text(free_at + timedelta(hours=1))}: asked to wait."
    )


def test_the_queue_position_names_tasks_ahead_and_busy_workers(worker):
    one_step.using(priority=10).enqueue(1)
    tasks = [one_step.enqueue(number) for number in range(3)]
    three_steps.using(priority=100).enqueue(1)
    last = one_step.using(priority=-10).enqueue(1)

    assert only(tasks[2]).sentence == "3 tasks of its queue go before it. 0 of 1 live workers are busy."
    assert only(last).ahead == 4
    assert only(tasks[0]).sentence.startswith("1 task of its queue goes before it.")
    for _ in range(2):
        take(worker.row.pk)
    assert only(tasks[0]).sentence == (
        "It is the next one. Estimated from the last 5 minutes, it starts in about 1 s. 1 of 1 live workers is busy."
    )
    assert only(tasks[0]).workers_busy == 1


def test_recent_starts_give_an_estimate(worker):
    for number in range(10):
        one_step.enqueue(number)
    worker.work()
    Task.objects.update(started_at=Now() - timedelta(seconds=100))
    tasks = [one_step.enqueue(number) for number in range(3)]

    explanation = why(tasks[2].pk)

    (reason,) = explanation.reasons
    assert "Estimated from the last 5 minutes, it starts in about 30 s." in reason.sentence
    assert abs(reason.expected_at - explanation.as_of - timedelta(seconds=30)) < timedelta(seconds=2)
    advance(minutes=10)
    assert only(tasks[2]).expected_at is None


def test_a_reached_limit_gives_no_estimate(worker):
    tasks = [limited.using().enqueue("acme") for _ in range(2)]
    take(worker.row.pk)
    Task.objects.filter(status="running").update(started_at=Now() - timedelta(seconds=50), progress=0.04)

    full, position = reasons(tasks[1])

    assert (full.code, position.code) == (Code.LIMIT, Code.QUEUED)
    assert position.expected_at is None
    assert "Estimated" not in position.sentence


@pytest.mark.parametrize("crowd", [99, 100, 101, 250, 1_000])
def test_all_tasks_ahead_are_counted(worker, crowd):
    task = one_step.enqueue(1)
    with connection.cursor() as cursor:
        cursor.execute(CROWD, [crowd])

    (reason,) = why(task.pk).reasons

    assert (reason.ahead, reason.ahead_is_more) == (crowd, False)


def test_tasks_ahead_are_counted_up_to_a_thousand(worker):
    task = one_step.enqueue(1)
    with connection.cursor() as cursor:
        cursor.execute(CROWD, [1_001])

    reason = only(task)

    assert reason.sentence.startswith("More than 1,000 tasks of its queue go before it.")
    assert (reason.ahead, reason.ahead_is_more) == (1_000, True)


def test_a_missing_task_is_not_found():
    with pytest.raises(TaskNotFound):
        why(uuid7())


def test_an_explanation_costs_at_most_seven_queries(worker, django_assert_max_num_queries):
    tasks = [limited.enqueue("a") for _ in range(30)]
    take(worker.row.pk)
    nap = one_step.enqueue(1)
    waiting(nap, "approval", "wait")
    waiting(nap, "nap", "sleep")
    waiting(nap, "render", "parallel")

    for task in (tasks[0], tasks[20], nap):
        with django_assert_max_num_queries(7):
            why(task.pk)


@pytest.mark.parametrize(
    ("queues", "sentence", "waiting_for"),
    [
        (
            "mail",
            "No live worker takes queue gpu. Start one: manage.py worker --queues gpu.",
            "a worker that takes queue gpu",
        ),
        ("gpu", "", ""),
    ],
)
def test_a_queue_without_workers_is_named(queues, sentence, waiting_for):
    task = one_step.enqueue(1)
    move_pipeline("engine/one-step", "gpu")

    with InProcessWorker(queues=queues):
        found = reasons(task)

    if not sentence:
        assert [reason.sentence for reason in found] == ["It is the next one. 0 of 1 live workers are busy."]
        return
    first, _position = found
    assert (first.code, first.sentence, first.waiting_for) == (Code.NO_WORKER, sentence, waiting_for)


def test_the_workers_of_other_queues_are_not_counted(worker):
    task = one_step.enqueue(1)
    move_pipeline("engine/one-step", "gpu")
    with InProcessWorker(not_queues="gpu"):
        assert only(task).sentence == "It is the next one. 0 of 1 live workers that take queue gpu are busy."


def test_workers_of_the_queue_without_the_code_are_named(worker):
    task = one_step.enqueue(1)
    move_pipeline("engine/one-step", "gpu")
    Worker.objects.update(pipelines=[])
    with InProcessWorker(queues="mail"):
        assert reasons(task)[0].sentence == "No live worker that takes queue gpu knows pipeline engine/one-step."
