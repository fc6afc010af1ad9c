"""Old finished tasks are pruned with their rows; unfinished tasks, and rows that they need, are kept."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from taskqueue import Singleton, emit, pipeline, wait_for
from taskqueue.engine.events.send import send
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks import control
from taskqueue.models import (
    Attempt,
    Event,
    IdempotencyKey,
    Pipeline,
    Skip,
    Step,
    Task,
    Wait,
    Worker,
)
from taskqueue.states import SkipKind
from taskqueue.testing import advance, work
from tests.support.database.histories import prune
from tests.support.pipelines import basic as pipelines

pytestmark = pytest.mark.django_db

A_DAY = timedelta(days=1)


@pipeline("retention/week", keep=timedelta(days=7))
def week(number: int) -> int:
    return pipelines.one(number)


@pipeline("retention/for-ever", keep=None)
def for_ever(number: int) -> int:
    return pipelines.one(number)


@pipeline("retention/waits")
def waits(name: str) -> object:
    return wait_for(name, timeout=timedelta(days=365))


@pipeline("retention/waits-twice")
def waits_twice() -> object:
    wait_for("retention/first", timeout=timedelta(days=365))
    return wait_for("retention/second", timeout=timedelta(days=365))


@pipeline("retention/parent")
def parent() -> object:
    pipelines.one_step(1)
    return wait_for("retention/go", timeout=timedelta(days=365))


@pipeline("retention/emits")
def emits() -> None:
    emit("retention/said", {})


@pipeline("retention/only", singleton=Singleton(key="{tenant}"))
def only(tenant: str) -> str:
    return tenant


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    pipelines.calls.clear()


def ended(which=pipelines.three_steps, *args, **options):
    task = which.using(**options).enqueue(*(args or (1,)))
    work()
    return Task.objects.get(pk=task.pk)


def test_a_finished_task_is_pruned_after_thirty_days_with_its_rows():
    pipelines.broken["three"] = 1
    task = pipelines.three_steps.using(key="order-1").enqueue(1)
    pipelines.three_steps.using(key="order-1").enqueue(1)
    work()
    advance(minutes=1)
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert Attempt.objects.exists()
    assert Skip.objects.exists()

    advance(days=29)
    prune()
    assert Task.objects.filter(pk=task.pk).exists()

    advance(days=2)
    prune()
    assert not Task.objects.exists()
    assert not Step.objects.exists()
    assert not Attempt.objects.exists()
    assert not Skip.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_each_pipeline_has_its_own_retention():
    assert Pipeline.objects.get(pk="retention/week").keep == timedelta(days=7)
    short, long, kept = ended(week), ended(), ended(for_ever)

    advance(days=8)
    prune()
    assert set(Task.objects.values_list("pk", flat=True)) == {long.pk, kept.pk}

    advance(days=3650)
    prune()
    assert list(Task.objects.values_list("pk", flat=True)) == [kept.pk]
    assert not Task.objects.filter(pk=short.pk).exists()


def test_the_setting_is_the_default_retention(settings):
    task = ended()
    settings.TASKQUEUE = {"RETENTION": None}
    advance(days=1000)
    prune()
    assert Task.objects.filter(pk=task.pk).exists()

    settings.TASKQUEUE = {"RETENTION": timedelta(days=1001)}
    prune()
    assert Task.objects.filter(pk=task.pk).exists()

    settings.TASKQUEUE = {"RETENTION": timedelta(days=999)}
    prune()
    assert not Task.objects.exists()


@pytest.mark.parametrize("moved", [1, 400])
def test_an_unfinished_task_keeps_its_steps_and_its_finished_child(moved):
    task = parent.enqueue()
    work()
    advance(days=moved)

    prune()

    kept = Task.objects.get(pk=task.pk)
    child = Task.objects.get(parent=task)
    assert (kept.status, child.status) == ("waiting", "succeeded")
    assert Step.objects.filter(task=task, child=child).exists()


def test_a_finished_parent_is_kept_while_its_child_is_retried():
    pipelines.broken["one"] = 99
    task = parent.enqueue()
    work()
    child = Task.objects.get(parent=task)
    control.cancel(task.pk)
    advance(days=31)
    control.retry(child.pk)

    prune()

    assert Task.objects.filter(pk=task.pk).exists()


def test_pruning_a_parent_keeps_a_child_with_longer_retention():
    Pipeline.objects.filter(pk="engine/one-step").update(keep_for_ever=True)
    task = parent.enqueue()
    work()
    send("retention/go", {})
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    advance(days=31)

    prune()

    assert not Task.objects.filter(pk=task.pk).exists()
    assert Task.objects.get().parent_id is None


def test_pruning_a_task_keeps_its_rerun():
    first = ended()
    again = control.rerun(first.pk)
    Task.objects.filter(pk=first.pk).update(finished_at=Now() - 40 * A_DAY, created_at=Now() - 40 * A_DAY)

    prune()

    assert Task.objects.get().pk == again.pk
    assert Task.objects.get().rerun_of_id is None


def test_a_task_is_kept_while_its_idempotency_key_is_valid(settings):
    settings.TASKQUEUE = {"IDEMPOTENCY_WINDOW": timedelta(days=60)}
    task = ended(week, key="order-1")
    advance(days=31)

    prune()

    assert week.using(key="order-1").enqueue(1).pk == task.pk


def test_a_task_is_kept_until_its_completion_is_handled():
    task = ended()
    Task.objects.filter(pk=task.pk).update(notify_completion=True)
    advance(days=31)
    prune()
    assert Task.objects.exists()

    Task.objects.filter(pk=task.pk).update(notify_completion=False)
    prune()
    assert not Task.objects.exists()


def test_an_expired_key_is_pruned_before_its_task():
    ended(for_ever, key="order-1")
    advance(hours=26)

    prune()

    assert not IdempotencyKey.objects.exists()
    assert Task.objects.count() == 1


def test_an_event_is_kept_while_a_task_may_wait_for_it():
    task = waits_twice.enqueue()
    work()
    send("retention/second", {"number": 2})
    advance(days=100)
    prune()
    send("retention/first", {})

    work()

    task.refresh_from_db()
    assert task.status == "succeeded"
    assert task.result == {"number": 2}
    advance(days=31)
    prune()
    prune()
    assert not Task.objects.exists()
    assert not Event.objects.exists()
    assert not Wait.objects.exists()


def test_unreferenced_old_events_are_pruned():
    started = send("engine/one-step.requested", {"number": 1})
    idle = send("retention/unused", {})
    fresh = send("retention/fresh", {})
    work()
    assert Task.objects.get().event_id == started.pk
    Pipeline.objects.filter(pk="engine/one-step").update(keep_for_ever=True)
    advance(days=31)
    Event.objects.filter(pk=fresh.pk).update(received_at=Now(), routed_at=Now())

    prune()

    assert set(Event.objects.values_list("pk", flat=True)) == {started.pk, fresh.pk}
    assert not Event.objects.filter(pk=idle.pk).exists()


def test_an_event_outlives_its_sender_with_shorter_retention():
    Pipeline.objects.filter(pk="retention/emits").update(keep=timedelta(days=1))
    ended_task = emits.enqueue()
    work()
    advance(days=2)

    prune()

    assert not Task.objects.filter(pk=ended_task.pk).exists()
    assert Event.objects.get().source_id is None


def test_skipped_requests_are_pruned_by_their_own_age():
    only.enqueue("a")
    only.enqueue("a")
    Skip.objects.create(pipeline_id="retention/only", kind=SkipKind.MISFIRE, reason="late")
    assert Skip.objects.count() == 2
    Skip.objects.update(created_at=Now() - 31 * A_DAY)
    Skip.objects.create(pipeline_id="retention/only", kind=SkipKind.MISFIRE, reason="new")

    prune()

    assert [skip.reason for skip in Skip.objects.all()] == ["new"]


def test_ended_workers_are_pruned_and_their_tasks_are_still_shown():
    task = ended(for_ever)
    alive = Worker.objects.create(host="here", pid=1, cluster="c", version="1")
    Worker.objects.exclude(pk=alive.pk).update(ended_at=Now() - 31 * A_DAY)

    prune()

    assert list(Worker.objects.all()) == [alive]
    found = tasks.find(task.pk)
    assert found.worker is None
    assert found.worker_id is not None


def test_a_worker_with_a_running_task_is_kept():
    task = pipelines.one_step.enqueue(1)
    worker = Worker.objects.create(
        host="here", pid=1, cluster="c", version="1", ended_at=Now() - 31 * A_DAY, end_reason="lost"
    )
    Task.objects.filter(pk=task.pk).update(status="running", worker=worker, started_at=Now(), lease=1)

    prune()

    assert Worker.objects.filter(pk=worker.pk).exists()


def test_tasks_that_must_stay_do_not_block_pruning_of_later_ones():
    rows = [ended(week, key=f"held-{number}") for number in range(3)]
    IdempotencyKey.objects.update(expires_at=Now() + 365 * A_DAY)
    behind = ended(week)
    Task.objects.update(finished_at=Now() - 31 * A_DAY, created_at=Now() - 31 * A_DAY)

    prune()

    left = set(Task.objects.values_list("pk", flat=True))
    assert left == {row.pk for row in rows}
    assert behind.pk not in left
