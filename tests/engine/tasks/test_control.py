"""Retry, cancel and rerun."""

from __future__ import annotations

import pytest

from taskqueue.engine.tasks import control
from taskqueue.errors import NotCancellable, NotRetryable, TaskNotFound, UnknownStep
from taskqueue.ids import uuid7
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import advance, work
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import calls, three_steps

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed_task() -> Task:
    """A task whose third step has used up its retries."""
    pipelines.broken["three"] = 3
    task = three_steps.enqueue(5)
    for _ in range(3):
        work()
        advance(minutes=1)
    assert Task.objects.get(pk=task.pk).status == "failed"
    calls.clear()
    return task


def test_a_retry_continues_from_the_failed_step(failed_task):
    task = control.retry(failed_task.pk)

    assert (task.status, task.error, task.finished_at) == ("queued", None, None)
    work()
    assert calls == ["three"]
    assert Task.objects.get().result == 9
    assert Attempt.objects.count() == 3


def test_a_retried_step_has_all_its_attempts_again(failed_task):
    pipelines.broken["three"] = 2
    control.retry(failed_task.pk)

    for _ in range(3):
        work()
        advance(minutes=1)

    assert Task.objects.get().status == "succeeded"
    assert [attempt.number for attempt in Attempt.objects.order_by("pk")] == [1, 2, 3, 4, 5]


def test_a_retry_from_a_step_discards_it_and_later_steps():
    task = three_steps.enqueue(5)
    work()
    calls.clear()

    control.retry(task.pk, from_step="two")

    assert [step.key for step in Step.objects.all()] == ["one"]
    work()
    assert calls == ["two", "three"]
    assert Task.objects.get().status == "succeeded"


def test_a_retry_from_an_unknown_step_lists_recorded_steps(failed_task):
    with pytest.raises(UnknownStep, match="one, two, three"):
        control.retry(failed_task.pk, from_step="four")

    assert Task.objects.get().status == "failed"


def test_a_succeeded_task_is_not_retried_without_a_step():
    task = three_steps.enqueue(5)
    work()

    with pytest.raises(NotRetryable, match="Name a step"):
        control.retry(task.pk)


def test_an_unfinished_task_is_not_retried():
    task = three_steps.enqueue(5)

    with pytest.raises(NotRetryable, match="queued"):
        control.retry(task.pk, from_step="one")


def test_a_queued_task_is_cancelled_and_never_runs():
    task = three_steps.enqueue(5)

    assert control.cancel(task.pk).status == "cancelled"

    assert work() == []
    assert Task.objects.get().finished_at is not None


def test_a_cancelled_task_can_be_retried():
    task = three_steps.enqueue(5)
    control.cancel(task.pk)

    control.retry(task.pk)

    work()
    assert Task.objects.get().status == "succeeded"


def test_a_finished_task_is_not_cancelled():
    task = three_steps.enqueue(5)
    work()

    with pytest.raises(NotCancellable, match="succeeded"):
        control.cancel(task.pk)


def test_a_rerun_is_a_new_task_from_the_same_payload_without_the_key():
    first = three_steps.using(key="k", priority=3, labels={"a": "b"}).enqueue(5)
    work()

    again = control.rerun(first.pk)

    again = Task.objects.get(pk=again.pk)
    assert (again.payload, again.priority, again.labels) == ({"number": 5}, 3, {"a": "b"})
    assert (again.key, again.rerun_of_id, again.status) == ("", first.pk, "queued")


@pytest.mark.parametrize("verb", [control.retry, control.cancel, control.rerun])
def test_an_unknown_task_is_not_found(verb):
    with pytest.raises(TaskNotFound):
        verb(uuid7())
