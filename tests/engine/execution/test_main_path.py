"""The main path: from an enqueue to the end of the task."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

from taskqueue.engine.runtime.outcomes import Failed, RetryLater, Succeeded
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import calls, compensating, declined_pipeline, overloaded_pipeline, three_steps

pytestmark = [pytest.mark.django_db, pytest.mark.smoke]


def reload(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def test_a_task_runs_its_steps_in_order_and_records_each_result():
    task = three_steps.enqueue(5)

    assert work() == [Succeeded("9")]

    assert calls == ["one", "two", "three"]
    steps = Step.objects.filter(task=task).order_by("pk").values_list("key", "status", "input", "output")
    assert list(steps) == [
        ("one", "succeeded", {"number": 5}, 6),
        ("two", "succeeded", {"number": 6}, 12),
        ("three", "succeeded", {"number": 12}, 9),
    ]
    task = reload(task)
    assert (task.status, task.result, task.error, task.lease) == ("succeeded", 9, None, 1)
    assert task.created_at <= task.started_at <= task.finished_at


def test_a_failing_step_is_retried_by_its_policy_then_fails_the_task():
    pipelines.broken["three"] = 99
    task = three_steps.enqueue(5)

    assert isinstance(work()[0], RetryLater)
    task = reload(task)
    assert task.status == "retrying"
    wait = task.due_at - Attempt.objects.get().finished_at
    assert 9 <= wait.total_seconds() <= 11

    assert work() == []
    advance(seconds=8)
    assert work() == []
    advance(seconds=4)
    assert isinstance(work()[0], RetryLater)
    advance(seconds=12)
    assert isinstance(work()[0], Failed)

    assert calls == ["one", "two", "three", "three", "three"]
    task = reload(task)
    assert task.status == "failed"
    assert task.error == {"type": "ConnectionError", "message": "three is broken", "step": "three"}
    attempts = Attempt.objects.order_by("pk").values_list("step_key", "number", "outcome", "error_type")
    assert list(attempts) == [("three", number, "failed", "ConnectionError") for number in (1, 2, 3)]
    assert "three is broken" in Attempt.objects.filter(number=3).get().traceback


def test_the_default_policy_spreads_five_retries_over_a_day():
    pipelines.broken["one"] = 5
    task = three_steps.enqueue(5)
    waited = 0.0

    while not isinstance(work()[-1], Succeeded):
        last = Attempt.objects.order_by("-pk")[0]
        waited += (reload(task).due_at - last.finished_at).total_seconds()
        advance(hours=17)

    assert calls.count("one") == 6
    assert 0.9 * 86400 <= waited <= 1.1 * 86400


def test_a_caught_step_failure_stays_caught_when_the_body_runs_again():
    pipelines.broken["three"] = 3
    pipelines.broken["fall_back"] = 1
    task = compensating.enqueue(7)

    for _ in range(4):
        work()
        advance(minutes=10)

    assert calls == ["three", "three", "three", "fall_back", "fall_back"]
    assert (reload(task).status, reload(task).result) == ("succeeded", -7)


def test_a_permanent_error_is_never_retried():
    task = declined_pipeline.enqueue()

    assert work() == [Failed("declined", "Permanent", "card declined")]

    assert calls == ["declined"]
    assert reload(task).status == "failed"


def test_retry_after_sets_the_time_of_the_next_attempt():
    task = overloaded_pipeline.enqueue()

    work()

    wait = reload(task).due_at - Attempt.objects.get().finished_at
    assert abs(wait.total_seconds() - 3600) < 1


def test_a_bodys_error_is_retried_without_repeating_finished_steps():
    pipelines.broken["body"] = 1
    task = pipelines.broken_body.enqueue(1)

    assert isinstance(work()[0], RetryLater)
    assert reload(task).failures == 1
    advance(seconds=12)

    assert work() == [Succeeded("2")]
    assert calls == ["one", "body", "body"]
    assert Attempt.objects.get().step_key == ""


def test_a_body_without_attempts_left_fails_its_task():
    pipelines.broken["body"] = 9
    task = pipelines.broken_body.enqueue(1)

    for _ in range(3):
        work()
        advance(seconds=12)

    assert work() == []
    assert reload(task).error == {"type": "ConnectionError", "message": "body is broken", "step": None}
    assert [attempt.number for attempt in Attempt.objects.order_by("pk")] == [1, 2, 3]


def test_an_atomic_steps_orm_writes_commit_only_with_its_checkpoint():
    pipelines.broken["after_create_group"] = 1
    task = pipelines.atomic_pipeline.enqueue("staff")

    work()
    assert not Group.objects.exists()
    assert reload(task).status == "retrying"
    advance(hours=1)
    work()

    assert Group.objects.get().pk == reload(task).result


def test_a_stopping_worker_releases_its_task_between_steps():
    stopping = InProcessWorker()
    pipelines.during_step = lambda: setattr(stopping, "stopping", True)
    task = pipelines.interrupted.enqueue()

    stopping.work()
    assert (reload(task).status, calls) == ("queued", ["one", "in_the_middle"])
    pipelines.during_step = lambda: None
    work()

    assert calls == ["one", "in_the_middle", "two"]
    assert reload(task).status == "succeeded"
    assert not Attempt.objects.exists()
