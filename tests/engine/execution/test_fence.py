"""A worker that has lost its lease can write nothing for the task."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.models import F

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.outcomes import Release, Succeeded
from taskqueue.engine.tasks import control
from taskqueue.models import Attempt, Step, Task, Worker
from taskqueue.testing import InProcessWorker, work
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import calls, interrupted

pytestmark = pytest.mark.django_db


def test_a_worker_without_its_lease_leaves_a_finished_task_unchanged():
    zombie = InProcessWorker()
    finished: list[Any] = []

    def meanwhile():
        pipelines.during_step = lambda: "the second worker's"
        zombie.die()
        assert work() == [Succeeded("null")]
        finished.append(Task.objects.values().get())
        return "the zombie's"

    pipelines.during_step = meanwhile
    interrupted.enqueue()

    assert zombie.work() == [Release()]

    assert Task.objects.values().get() == finished[0]
    assert (finished[0]["status"], finished[0]["lease"]) == ("succeeded", 2)
    assert Step.objects.get(key="in-the-middle").output == "the second worker's"
    assert calls == ["one", "in_the_middle", "in_the_middle", "two"]


def test_a_dead_workers_task_is_queued_again_with_a_lost_attempt():
    dead = InProcessWorker()

    def killed():
        Worker.objects.filter(pk=dead.row.pk).update(
            task_id=Task.objects.get().pk, step="in-the-middle", step_started_at=dead.row.started_at
        )
        raise KeyboardInterrupt

    pipelines.during_step = killed
    interrupted.enqueue()
    with pytest.raises(KeyboardInterrupt):
        dead.work()
    assert Task.objects.get().status == "running"

    dead.die()
    assert dispatch.run_due(5).claimable == 1

    assert Task.objects.get().status == "queued"
    lost = Attempt.objects.get()
    assert (lost.outcome, lost.step_key, lost.error_type) == ("lost", "in-the-middle", "WorkerLost")
    assert lost.worker_id == dead.row.pk
    pipelines.during_step = lambda: None
    work()
    assert calls == ["one", "in_the_middle", "in_the_middle", "two"]


def test_a_lost_attempt_does_not_name_a_finished_step():
    dead = InProcessWorker()

    def killed():
        Worker.objects.filter(pk=dead.row.pk).update(task_id=Task.objects.get().pk, step="one")
        raise KeyboardInterrupt

    pipelines.during_step = killed
    interrupted.enqueue()
    with pytest.raises(KeyboardInterrupt):
        dead.work()

    dead.die()
    dispatch.run_due(5)

    assert Attempt.objects.get().step_key == ""


def test_a_step_that_loses_five_workers_in_a_row_is_poison():
    def killed():
        raise KeyboardInterrupt

    pipelines.during_step = killed
    task = interrupted.enqueue()
    for _ in range(5):
        assert Task.objects.get().status == "queued"
        dead = InProcessWorker()
        with pytest.raises(KeyboardInterrupt):
            dead.work()
        dead.die()
        dispatch.run_due(5)

    failed = Task.objects.get()
    assert failed.status == "failed"
    assert failed.error["type"] == "Poison"
    assert "5 workers in a row were lost" in failed.error["message"]

    control.retry(task.pk)
    pipelines.during_step = lambda: None
    assert work() == [Succeeded("null")]


def test_a_step_finished_between_losses_resets_the_count():
    task = pipelines.three_steps.enqueue(1)
    worker = InProcessWorker()
    Attempt.objects.bulk_create(
        Attempt(
            task=task,
            step_key="",
            number=number,
            outcome="lost",
            error_type="WorkerLost",
            lease=0,
            started_at=task.created_at,
            finished_at=task.created_at,
        )
        for number in range(1, 5)
    )
    Step.objects.create(
        task=task,
        key="x",
        name="x",
        status="succeeded",
        started_at=task.created_at,
        finished_at=task.created_at,
        input_hash="",
    )
    Task.objects.filter(pk=task.pk).update(status="running", worker=worker.row, lease=1, started_at=task.created_at)

    worker.die()
    dispatch.run_due(5)

    assert Task.objects.get().status == "queued"


def test_workers_have_time_to_relock_after_a_database_start(monkeypatch):
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(days=10_000))
    unlocked = InProcessWorker()
    unlocked.die()

    assert dispatch.run_due(5).dead_workers == ()
    assert Worker.objects.get(pk=unlocked.row.pk).ended_at is None


def test_a_worker_without_heartbeat_is_dead_although_it_holds_its_lock():
    silent = InProcessWorker()
    task = interrupted.enqueue()
    Task.objects.filter(pk=task.pk).update(status="running", worker=silent.row, lease=1, started_at=task.created_at)
    assert dispatch.run_due(5).claimable == 0

    Worker.objects.filter(pk=silent.row.pk).update(heartbeat_at=F("heartbeat_at") - timedelta(seconds=31))

    assert dispatch.run_due(5).claimable == 1
    assert Worker.objects.get(pk=silent.row.pk).ended_at is not None


def test_a_cancelled_task_accepts_no_result():
    def cancel():
        control.cancel(Task.objects.get().pk)
        return "too late"

    pipelines.during_step = cancel
    interrupted.enqueue()

    assert work() == [Release()]

    task = Task.objects.get()
    assert (task.status, task.result) == ("cancelled", None)
    assert [step.key for step in Step.objects.all()] == ["one"]
    assert calls == ["one", "in_the_middle"]


def test_a_cancelled_atomic_step_leaves_no_orm_write(monkeypatch):
    task = pipelines.atomic_pipeline.enqueue("staff")
    original = pipelines.note
    monkeypatch.setattr(
        pipelines,
        "note",
        lambda name: (original(name), control.cancel(task.pk) if name == "after_create_group" else None),
    )

    assert work() == [Release()]

    # Here the step's own transaction contains the cancel, so the rollback undoes both.
    assert not Group.objects.exists()
    assert not Step.objects.exists()


def test_a_task_claimed_by_an_ended_worker_is_released():
    ended = InProcessWorker()
    ended.leave()
    task = interrupted.enqueue()
    Task.objects.filter(pk=task.pk).update(status="running", worker=ended.row, lease=1, started_at=task.created_at)

    assert dispatch.run_due(5).claimable == 1

    assert Task.objects.get().status == "queued"
    assert Worker.objects.get(pk=ended.row.pk).end_reason == "stopped"


def test_a_worker_wrongly_ended_claims_its_next_task_as_a_new_worker():
    first = InProcessWorker()
    second = InProcessWorker()

    def reborn():
        first.row = second.row

    pipelines.during_step = reborn
    interrupted.enqueue()
    later = interrupted.enqueue()

    first.work()

    assert Task.objects.get(pk=later.pk).worker_id == second.row.pk
