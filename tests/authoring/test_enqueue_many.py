"""enqueue_many() creates many tasks, or none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from taskqueue import enqueue_many, pipeline, step
from taskqueue.errors import BatchRefused, InvalidContext, InvalidOptions
from taskqueue.models import Task
from taskqueue.testing import run_inline
from tests.support.database.costs import costs
from tests.support.pipelines.basic import one_step, three_steps

pytestmark = pytest.mark.django_db


@step
def enqueue_two() -> list[str]:
    return [str(task.pk) for task in enqueue_many([one_step.defer(1), one_step.defer(2)])]


@pipeline("authoring/enqueues-in-a-step")
def in_a_step() -> list[str]:
    return enqueue_two()


@pipeline("authoring/enqueues-in-its-body")
def in_its_body() -> str:
    try:
        enqueue_many([one_step.defer(1)])
    except InvalidContext as error:
        return str(error)
    return ""


def test_many_tasks_take_one_statement():
    one_step.enqueue(0), three_steps.enqueue(0)
    calls = [one_step.using(priority=5, labels={"tenant": "a"}).defer(1), three_steps.defer(2), one_step.defer(3)]

    with costs(statements=1 + 1):  # the end of the savepoint
        tasks = enqueue_many(calls)

    assert [task.pipeline_id for task in tasks] == [call.name for call in calls]
    stored = Task.objects.in_bulk([task.pk for task in tasks])
    assert [stored[task.pk].payload for task in tasks] == [{"number": 1}, {"number": 2}, {"number": 3}]
    assert (stored[tasks[0].pk].priority, stored[tasks[0].pk].labels) == (5, {"tenant": "a"})


def test_a_known_key_returns_its_task():
    known = one_step.using(key="known").enqueue(1)

    tasks = enqueue_many([one_step.using(key=key).defer(1) for key in ("new", "known", "new")])

    assert [task.duplicate for task in tasks] == [False, True, True]
    assert [tasks[1].pk, tasks[2].pk] == [known.pk, tasks[0].pk]


def test_one_invalid_call_refuses_all():
    with pytest.raises(BatchRefused) as refused:
        enqueue_many(
            [one_step.defer(1), one_step.defer(None), one_step.using(timeout=timedelta(hours=1)).defer(1)]  # type: ignore[arg-type]
        )

    assert [(index, type(error).__name__) for index, error in refused.value.refusals] == [
        (1, "InvalidPayload"),
        (2, InvalidOptions.__name__),
    ]
    assert not Task.objects.exists()


def test_a_rollback_removes_the_tasks():
    with transaction.atomic():
        enqueue_many([one_step.defer(1)])
        transaction.set_rollback(True)

    assert not Task.objects.exists()


def test_no_calls_create_no_task():
    assert enqueue_many([]) == []


def test_a_step_is_no_pipeline():
    with pytest.raises(TypeError, match="enqueue-two' is a step"):
        enqueue_many([enqueue_two.defer()])


def test_a_step_may_enqueue_many_and_a_body_may_not():
    ids = run_inline(in_a_step).result
    assert Task.objects.filter(pk__in=ids).count() == 2

    assert "enqueue_many() was called in a pipeline's body" in run_inline(in_its_body).result
