"""Where the time of a task goes, however it is interrupted; rows travel in time, so that hours pass in a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskqueue import Limit, Permanent, Rate, Retry, pipeline, sleep, step
from taskqueue.engine.queries.time_spent import Spent, spent_of
from taskqueue.engine.tasks import control
from taskqueue.models import Task
from taskqueue.states import PHASES, TaskStatus
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.pipelines import basic as pipelines

pytestmark = pytest.mark.django_db
broken: set[str] = set()


@pipeline("spent/sleeper")
def sleeper() -> None:
    sleep("nap", timedelta(minutes=10))


@pipeline("spent/one-place", concurrency=Limit(1))
def one_place() -> None:
    sleep("nap", timedelta(minutes=10))


@pipeline("spent/five-places", concurrency=Limit(5))
def five_places() -> None:
    pass


@step(rate=Rate(1, per=timedelta(minutes=10), name="spent/rate"))
def rated_step() -> None:
    pass


@pipeline("spent/rated")
def rated() -> None:
    rated_step()


@pipeline("spent/throttled", throttle=Rate(1, per=timedelta(minutes=10)))
def throttled() -> None:
    pass


@step(retry=Retry.fixed(timedelta(minutes=10), retries=1))
def unsteady_step() -> None:
    if broken:
        raise Permanent("broken") if "for good" in broken else ValueError("broken")


@pipeline("spent/unsteady")
def unsteady() -> None:
    unsteady_step()


@pytest.fixture(autouse=True)
def _whole():
    broken.clear()


def minutes(task: Task) -> dict[str, int]:
    """Whole minutes of each phase that has any."""
    spent = spent_of(Task.objects.get(pk=task.pk), datetime.now(UTC))
    lengths = {phase: round(getattr(spent, phase) / timedelta(minutes=1)) for phase in PHASES}
    return {phase: length for phase, length in lengths.items() if length}


def test_a_ready_task_without_a_worker_is_in_the_queue():
    task = pipelines.one_step.enqueue(1)
    advance(minutes=3)
    assert minutes(task) == {"queued": 3}

    work()
    advance(hours=5)

    assert minutes(task) == {"queued": 3}
    assert Task.objects.get(pk=task.pk).executing_seconds > 0


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen at its time", "nobody there"])
def test_a_task_for_later_is_in_the_queue_from_its_time_on(is_seen):
    task = pipelines.one_step.using(run_at=datetime.now(UTC) + timedelta(hours=2)).enqueue(1)
    advance(hours=1)
    assert minutes(task) == {}
    advance(minutes=60)
    if is_seen:
        Task.objects.filter(pk=task.pk).update(status=TaskStatus.QUEUED)
    advance(minutes=4)
    assert minutes(task) == {"queued": 4}

    work()

    assert minutes(task) == {"queued": 4}


def test_a_sleep_is_waiting_and_what_comes_after_its_time_is_the_queue():
    task = sleeper.enqueue()
    work()
    advance(minutes=6)
    assert minutes(task) == {"waiting": 6}
    advance(minutes=6)
    assert minutes(task) == {"waiting": 10, "queued": 2}

    work()

    assert minutes(task) == {"waiting": 10, "queued": 2}


def test_the_time_between_attempts_is_backoff():
    broken.add("once")
    task = unsteady.enqueue()
    work()
    broken.clear()
    advance(minutes=13)
    work()

    spent = minutes(task)

    assert Task.objects.get(pk=task.pk).status == TaskStatus.SUCCEEDED
    assert sum(spent.values()) == 13
    assert 9 <= spent["backoff"] <= 11  # its jitter


def test_a_retry_by_hand_adds_nothing_of_the_time_before_it():
    broken.add("for good")
    task = unsteady.enqueue()
    work()
    advance(hours=3)
    broken.clear()
    control.retry(task.pk)
    advance(minutes=2)
    work()
    advance(hours=3)

    assert minutes(task) == {"queued": 2}


def test_a_task_whose_place_is_taken_is_held_back():
    first, second = one_place.enqueue(), one_place.enqueue()
    work()
    advance(minutes=10)
    work()  # the first one's end lets the second through

    assert minutes(first) == {"waiting": 10}
    assert minutes(second) == {"blocked": 10}


def test_a_task_with_a_free_place_is_in_the_queue():
    tasks = [five_places.enqueue() for _ in range(3)]
    advance(minutes=10)
    work()

    assert [minutes(task) for task in tasks] == [{"queued": 10}] * 3


@pytest.mark.parametrize("name", ["spent/rated", "spent/throttled"])
def test_what_waits_for_a_rate_is_held_back(name):
    definition = {"spent/rated": rated, "spent/throttled": throttled}[name]
    first, second = definition.enqueue(), definition.enqueue()
    work()
    advance(minutes=10)
    work()

    assert {task.status for task in Task.objects.filter(pipeline=name)} == {TaskStatus.SUCCEEDED}
    assert minutes(first) == {}
    assert minutes(second) == {"blocked": 10}


def test_what_a_lost_worker_had_in_hand_was_executing():
    task = pipelines.one_step.enqueue(1)
    with InProcessWorker() as worker:
        Task.objects.filter(pk=task.pk).update(
            status=TaskStatus.RUNNING, worker=worker.row, started_at=datetime.now(UTC)
        )
        advance(minutes=5)
        assert minutes(task) == {"executing": 5}
        Task.objects.filter(pk=task.pk).update(status=TaskStatus.QUEUED)
        advance(minutes=1)

        assert minutes(task) == {"executing": 5, "queued": 1}


def test_the_phases_of_a_cancelled_task_stand_still():
    task = sleeper.enqueue()
    work()
    advance(minutes=3)
    control.cancel(task.pk)
    advance(hours=1)

    assert minutes(task) == {"waiting": 3}


def test_of_a_task_of_before_only_its_times_are_known():
    now = datetime.now(UTC)
    task = Task(status="succeeded", created_at=now - timedelta(minutes=9), started_at=now - timedelta(minutes=7))
    task.finished_at = now - timedelta(minutes=2)

    spent = spent_of(task, now)

    assert spent == Spent(queued=timedelta(minutes=2), executing=timedelta(minutes=5))
    assert spent.elapsed == timedelta(minutes=7)
