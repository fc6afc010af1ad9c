"""Sleep: a task waits without a worker, and only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskqueue import pipeline, sleep, sleep_until, step
from taskqueue.errors import InvalidContext
from taskqueue.models import Step, Task
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db


def test_a_sleeping_task_waits_for_its_time_and_holds_no_worker(calls):
    @step
    def wake(name: str) -> str:
        calls.append(name)
        return name

    @pipeline("sleep/one")
    def one(name: str) -> str:
        wake("before")
        sleep("nap", timedelta(hours=1))
        return wake(name)

    task = one.enqueue("after")
    work()
    task = reload(task)
    assert (task.status, task.due_at - task.started_at >= timedelta(minutes=59)) == ("waiting", True)
    advance(minutes=59)
    assert work() == []
    advance(minutes=2)
    work()

    assert reload(task).result == "after"
    assert calls == ["before", "after"]
    assert outputs_of(task) == {"wake": "before", "nap": None, "wake#2": "after"}


def test_sleeps_of_one_name_are_numbered_and_each_lasts(calls):
    @pipeline("sleep/three")
    def three() -> int:
        for _ in range(3):
            sleep("nap", timedelta(hours=10))
            calls.append("awake")
        return len(calls)

    task = finish(three.enqueue())

    assert task.status == "succeeded"
    assert list(outputs_of(task)) == ["nap", "nap#2", "nap#3"]


def test_a_past_time_or_zero_duration_does_not_wait():
    @pipeline("sleep/past")
    def past() -> str:
        sleep("nothing", timedelta(0))
        sleep_until("long-ago", datetime(2001, 1, 1, tzinfo=UTC))
        return "done"

    task = past.enqueue()
    work()

    assert reload(task).result == "done"


def test_outside_a_task_a_sleep_returns_at_once():
    sleep("nap", timedelta(days=1))
    sleep_until("nap", datetime(2999, 1, 1, tzinfo=UTC))


def test_a_time_without_an_offset_and_a_sleep_of_eleven_years_are_refused():
    with pytest.raises(ValueError, match="UTC offset"):
        sleep_until("nap", datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="at most"):
        sleep("nap", timedelta(days=4000))


def test_a_sleep_inside_a_step_is_refused_with_a_remedy():
    @step
    def drowsy() -> None:
        sleep("nap", timedelta(hours=1))

    @pipeline("sleep/in-step")
    def in_step() -> None:
        drowsy()

    task = in_step.enqueue()
    work()

    task = reload(task)
    assert task.status == "failed"
    assert task.error["type"] == InvalidContext.__name__
    assert "in the pipeline's body" in task.error["message"]


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_an_async_body_sleeps_too():
    @pipeline("sleep/async")
    async def nap() -> str:
        sleep("nap", timedelta(hours=1))
        return "done"

    assert finish(nap.enqueue()).result == "done"


def test_a_worker_lost_while_it_begins_to_sleep_does_not_lengthen_the_sleep():
    @pipeline("sleep/lost")
    def lost() -> str:
        sleep("nap", timedelta(hours=1))
        return "done"

    task = lost.enqueue()
    work()
    until = Step.objects.get(task=task).until
    Task.objects.update(status="queued", due_at=reload(task).created_at, sort_at=reload(task).created_at)
    with InProcessWorker() as worker:
        worker.work()

    assert Step.objects.get(task=task).until == until
    assert reload(task).due_at == until
