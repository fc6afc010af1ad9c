"""The phases of a task's time, through every kind of interruption. `advance` moves the rows' times back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskqueue import Limit, Permanent, Rate, Retry, pipeline, sleep, step
from taskqueue.admin.shared.time_spent import TimeSpent, time_spent_of
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


@pipeline("spent/one-slot", concurrency=Limit(1))
def one_slot() -> None:
    sleep("nap", timedelta(minutes=10))


@pipeline("spent/five-slots", concurrency=Limit(5))
def five_slots() -> None:
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
def _nothing_broken():
    broken.clear()


def minutes(task: Task) -> dict[str, int]:
    """The phases of at least a minute, in whole minutes."""
    spent = time_spent_of(Task.objects.get(pk=task.pk), datetime.now(UTC))
    durations = {phase: round(getattr(spent, phase) / timedelta(minutes=1)) for phase in PHASES}
    return {phase: number for phase, number in durations.items() if number}


def test_a_ready_task_without_a_worker_is_queued():
    task = pipelines.one_step.enqueue(1)
    advance(minutes=3)
    assert minutes(task) == {"queued": 3}

    work()
    advance(hours=5)

    assert minutes(task) == {"queued": 3}
    assert Task.objects.get(pk=task.pk).executing_seconds > 0


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen at its time", "no dispatcher"])
def test_a_scheduled_task_is_queued_from_its_time(is_seen):
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


def test_a_sleep_is_waiting_until_its_time_then_queued():
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
    assert 12 <= sum(spent.values()) <= 14  # each of both is rounded
    assert 9 <= spent["backoff"] <= 11  # its jitter


def test_a_retry_by_hand_adds_no_time_before_it():
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


def test_a_task_without_a_free_slot_is_blocked():
    first, second = one_slot.enqueue(), one_slot.enqueue()
    work()
    advance(minutes=10)
    work()  # the end of the first frees the slot

    assert minutes(first) == {"waiting": 10}
    assert minutes(second) == {"blocked": 10}


def test_a_task_with_a_free_slot_is_queued():
    tasks = [five_slots.enqueue() for _ in range(3)]
    advance(minutes=10)
    work()

    assert [minutes(task) for task in tasks] == [{"queued": 10}] * 3


@pytest.mark.parametrize("name", ["spent/rated", "spent/throttled"])
def test_waiting_for_a_rate_is_blocked(name):
    definition = {"spent/rated": rated, "spent/throttled": throttled}[name]
    first, second = definition.enqueue(), definition.enqueue()
    work()
    advance(minutes=10)
    work()

    assert {task.status for task in Task.objects.filter(pipeline=name)} == {TaskStatus.SUCCEEDED}
    assert minutes(first) == {}
    assert minutes(second) == {"blocked": 10}


def test_the_task_of_a_lost_worker_was_executing():
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


def test_the_phases_of_a_cancelled_task_stay():
    task = sleeper.enqueue()
    work()
    advance(minutes=3)
    control.cancel(task.pk)
    advance(hours=1)

    assert minutes(task) == {"waiting": 3}


def test_a_task_from_before_the_columns_has_only_its_times():
    now = datetime.now(UTC)
    task = Task(status="succeeded", created_at=now - timedelta(minutes=9), started_at=now - timedelta(minutes=7))
    task.finished_at = now - timedelta(minutes=2)

    spent = time_spent_of(task, now)

    assert spent == TimeSpent(queued=timedelta(minutes=2), executing=timedelta(minutes=5))
    assert spent.elapsed == timedelta(minutes=7)
