"""Why a task is waiting, with rows that the engine wrote."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Limit, Rate, Retry, each, event_of, pipeline, sleep, step, wait_any
from taskqueue.engine.queries.reasons import Code, time_text
from taskqueue.engine.queries.status import status_of
from taskqueue.engine.queries.why import why
from taskqueue.errors import TaskNotFound
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker

pytestmark = pytest.mark.django_db


@step(retry=Retry.fixed(timedelta(hours=1), retries=1))
def render(page: int) -> int:
    raise ConnectionError("down")


@step(rate=Rate(1, per=timedelta(minutes=1), name="why-api"))
def ask(number: int) -> int:
    return number


@step
def look(*, at_another: bool) -> list[str]:
    """Why a second task is waiting, asked inside a step that holds the only slot."""
    if not at_another:
        return []
    second = stepping.enqueue(at_another=False)
    with InProcessWorker() as other:
        other.work()
    return [reason.sentence for reason in why(second.pk).reasons] + [str(status_of(second.pk).waiting_for)]


@pipeline("why/parallel")
def parallel() -> list[int]:
    return each(render, [1, 2, 3, 4], limit=2)


@pipeline("why/asking")
def asking() -> list[int]:
    return each(ask, [1, 2, 3])


@pipeline("why/nap")
def nap() -> None:
    sleep("nap", timedelta(hours=1))


@pipeline("why/parent")
def parent() -> None:
    nap()


@pipeline("why/choosing")
def choosing() -> None:
    wait_any(event_of("paid", match={"id": 1}), event_of("gone"), timeout=timedelta(hours=1), name="choice")


@pipeline("why/rated")
def rated() -> list[int]:
    return [ask(number) for number in range(2)]


@pipeline("why/stepping", step_concurrency=Limit(1))
def stepping(*, at_another: bool) -> list[str]:
    return look(at_another=at_another)


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def reason_of(task):
    """A task's only reason, which its status shows too."""
    (reason,) = why(task.pk).reasons
    assert status_of(task.pk).waiting_for == reason.waiting_for
    return reason


def test_parallel_steps_are_counted_by_status(worker):
    task = parallel.enqueue()
    worker.work()

    assert reason_of(task).sentence == "It waits for 4 of 4 parallel steps (2 retrying, 2 waiting)."
    parallel_step = Task.objects.filter(parent=task).order_by("pk")[0]
    with pytest.raises(TaskNotFound):  # it is part of its task, and is no task of the API
        why(parallel_step.pk)


def test_parallel_steps_name_the_rate_they_wait_for(worker):
    task = asking.enqueue()
    worker.work()
    worker.work()

    assert reason_of(task).sentence == "It waits for 2 of 3 parallel steps (2 waiting at why-api)."


def test_a_parent_names_its_child(worker):
    task = parent.enqueue()
    worker.work()
    worker.work()
    made = Task.objects.get(parent=task)

    assert reason_of(task).sentence == f"It waits for task {made.pk} of why/nap, which is waiting."
    assert reason_of(made).sentence == f"It sleeps (nap) until {time_text(made.due_at)}."


def test_a_wait_for_several_events_names_them(worker):
    task = choosing.enqueue()
    worker.work()
    until = Step.objects.get(task=task).until

    assert reason_of(task).sentence == (
        f"It waits for event paid with id = 1 or event gone, until {time_text(until)} at the latest."
    )


def test_a_step_names_its_rate_and_tasks_ahead(worker):
    tasks = [rated.enqueue() for _ in range(3)]
    worker.work()

    reasons = [reason_of(task) for task in tasks]

    assert [reason.code for reason in reasons] == [Code.RATE] * 3
    assert sorted(reason.ahead for reason in reasons) == [0, 1, 2]
    assert all(reason.step in {"ask", "ask#2"} for reason in reasons)
    first = min(reasons, key=lambda reason: reason.until)
    assert first.sentence == (
        f"Its call at rate why-api, which allows 1 per minute, is at {time_text(first.until)}. "
        "0 tasks have an earlier time."
    )


def test_the_step_limit_counts_executing_steps(worker):
    task = stepping.enqueue(at_another=True)
    worker.work()
    task.refresh_from_db()

    assert task.result is not None, task.error
    assert task.result[0] == "At most 1 step of pipeline why/stepping may execute at a time; 1 does now."
    assert task.result[-1] == "a free step slot"
