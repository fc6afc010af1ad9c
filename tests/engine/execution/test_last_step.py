"""The checkpoint of a body's last step is written with the end of its task, if nothing can come in between."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.db import connection

from taskqueue import Limit, Rate, Retry, each, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.author_code import body_end
from taskqueue.engine.execution import step_calls
from taskqueue.models import Attempt, Step, Task
from taskqueue.testing import work
from tests.support.pipelines.basic import atomic_pipeline, broken, broken_body, calls, one_step, three_steps

pytestmark = pytest.mark.django_db


@step
def named(name: str) -> str:
    logging.getLogger("last").warning("hello %s", name)
    return name


@pipeline("last/limited", concurrency=Limit(1))
def limited(name: str) -> str:
    return named(name)


@pipeline("last/steps-limited", step_concurrency=1)
def steps_limited(name: str) -> str:
    return named(name)


@step(rate=Rate(1000, per=timedelta(seconds=1), name="last/rate"))
def rated(name: str) -> str:
    return name


@pipeline("last/rated")
def with_rate(name: str) -> str:
    return rated(name)


@pipeline("last/plain")
def plain(name: str) -> dict[str, str]:
    result = named(name)
    return {"name": result}


@pipeline("last/more-code")
def more_code(name: str) -> str:
    return named(name).upper()


@pipeline("last/async")
async def asynchronous(name: str) -> str:
    return await named.aio(name)


@pipeline("last/parallel")
def parallel(name: str) -> list[str]:
    return each(named, [name])


@pipeline("last/wrong-result", retry=Retry.fixed(timedelta(0), retries=1))
def wrong_result(name: str) -> int:
    return named(name)  # type: ignore[return-value]  # on purpose


@pytest.fixture
def sent(monkeypatch):
    """The names of the writes of steps and ends, in order."""
    names: list[str] = []
    fetch = sql.fetch

    def noted(statement, parameters):
        names.extend(
            name
            for name in ("CHECKPOINT", "FINISH", "FINISH_WITH_STEP", "FAIL_BODY", "RETRY")
            if (part := getattr(sql, name)) in statement or statement == sql.end_parallel_step(part)
        )
        return fetch(statement, parameters)

    monkeypatch.setattr(sql, "fetch", noted)
    return names


def test_the_last_step_is_recorded_with_the_end(sent):
    task = plain.enqueue("Ada")

    work()

    assert sent == ["FINISH_WITH_STEP"]
    recorded = Step.objects.get(task=task)
    assert (recorded.key, recorded.status, recorded.input, recorded.output) == (
        "named",
        "succeeded",
        {"name": "Ada"},
        "Ada",
    )
    assert "hello Ada" in str(recorded.logs)
    assert Task.objects.get().result == {"name": "Ada"}


def test_the_last_step_of_a_limited_task_is_recorded_with_the_end(sent):
    limited.enqueue("Ada")
    limited.enqueue("Bob")

    work()

    assert sent == ["FINISH_WITH_STEP"] * 2
    assert set(Task.objects.values_list("status", "result")) == {("succeeded", "Ada"), ("succeeded", "Bob")}


def test_earlier_steps_are_recorded_at_once(sent):
    three_steps.enqueue(1)

    work()

    assert sent == ["CHECKPOINT", "CHECKPOINT", "FINISH_WITH_STEP"]
    assert list(Step.objects.order_by("pk").values_list("key", flat=True)) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "other",
    [more_code, asynchronous, steps_limited, with_rate, atomic_pipeline],
    ids=lambda each: each.definition.name,
)
def test_a_step_that_something_may_follow_is_recorded_at_once(other, sent):
    other.enqueue("Ada")

    work()

    assert sent == ["CHECKPOINT", "FINISH"]
    assert Task.objects.get().status == "succeeded"


@pytest.mark.parametrize("limit", [("LONGEST", timedelta(0)), ("LARGEST", 1)])
def test_a_long_or_large_step_is_recorded_at_once(limit, monkeypatch, sent):
    monkeypatch.setattr(body_end, *limit)
    plain.enqueue("Ada")

    work()

    assert sent == ["CHECKPOINT", "FINISH"]


def test_a_parallel_step_is_recorded_before_its_end_waits_for_the_lock_of_its_parent(sent):
    task = parallel.enqueue("Ada")

    work()

    assert sent == ["CHECKPOINT", "FINISH", "FINISH"]
    task.refresh_from_db()
    assert task.result == ["Ada"]
    assert "hello Ada" in str(Step.objects.get(task=task).logs)


def test_a_step_is_not_repeated_when_its_bodys_result_is_refused(sent):
    wrong_result.enqueue("Ada")

    work()

    assert sent == ["CHECKPOINT", "RETRY", "FAIL_BODY"]
    assert Step.objects.get().output == "Ada"
    assert Task.objects.get().status == "failed"


def test_a_failed_last_step_is_an_attempt_of_the_step(sent):
    broken["one"] = 1
    one_step.enqueue(1)

    work()

    assert sent == ["RETRY"]
    assert Attempt.objects.get().step_key == "one"
    Task.objects.update(due_at="2026-01-01T00:00Z", sort_at="2026-01-01T00:00Z")
    work()
    assert sent == ["RETRY", "FINISH_WITH_STEP"]
    assert (Step.objects.get().status, Step.objects.get().failures) == ("succeeded", 1)


def test_a_step_that_is_not_the_last_after_all_is_recorded_before_the_next(monkeypatch, sent):
    monkeypatch.setattr(step_calls, "ends_with_this_call", lambda _frame: True)
    three_steps.enqueue(1)

    work()

    assert sent == ["CHECKPOINT", "CHECKPOINT", "FINISH_WITH_STEP"]
    assert Step.objects.filter(status="succeeded").count() == 3


def test_a_step_is_recorded_before_its_body_fails(monkeypatch, sent):
    monkeypatch.setattr(step_calls, "ends_with_this_call", lambda _frame: True)
    broken["body"] = 1
    broken_body.enqueue(1)

    work()

    assert sent == ["CHECKPOINT", "RETRY"]
    Task.objects.update(due_at="2026-01-01T00:00Z", sort_at="2026-01-01T00:00Z")
    work()
    assert calls == ["one", "body", "body"]


@pytest.mark.django_db(transaction=True)
def test_a_refused_end_leaves_the_step_recorded(sent):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskqueue_task ADD CONSTRAINT refused CHECK (result <> '2'::jsonb)")
    try:
        one_step.enqueue(1)
        work()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE taskqueue_task DROP CONSTRAINT refused")

    assert sent == ["FINISH_WITH_STEP", "CHECKPOINT", "FINISH"]
    assert Step.objects.get().output == 2
    task = Task.objects.get()
    assert (task.status, task.error["type"]) == ("failed", "CheckViolation")
