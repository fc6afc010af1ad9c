"""A worker that lost its lease writes nothing, whatever it does next."""

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


def test_a_task_that_another_worker_finished_meanwhile_is_not_touched_by_the_first():
    zombie = InProcessWorker()
    finished: list[Any] = []

    def meanwhile():
        pipelines.intruder = lambda: "the second worker's"
        zombie.die()
        assert work() == [Succeeded("null")]
        finished.append(Task.objects.values().get())
        return "the zombie's"

    pipelines.intruder = meanwhile
    interrupted.enqueue()

    assert zombie.work() == [Release()]

    assert Task.objects.values().get() == finished[0]
    assert (finished[0]["status"], finished[0]["lease"]) == ("succeeded", 2)
    assert Step.objects.get(key="in-the-middle").output == "the second worker's"
    assert calls == ["one", "in_the_middle", "in_the_middle", "two"]


def test_a_dead_workers_task_is_queued_again_with_its_finished_steps_and_a_lost_attempt():
    dead = InProcessWorker()

    def killed():
        Worker.objects.filter(pk=dead.row.pk).update(
            task_id=Task.objects.get().pk, step="in-the-middle", step_started_at=dead.row.started_at
        )
        raise KeyboardInterrupt

    pipelines.intruder = killed
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
    pipelines.intruder = lambda: None
    work()
    assert calls == ["one", "in_the_middle", "in_the_middle", "two"]


def test_the_step_of_a_lost_attempt_is_not_named_when_it_had_been_finished():
    dead = InProcessWorker()

    def killed():
        Worker.objects.filter(pk=dead.row.pk).update(task_id=Task.objects.get().pk, step="one")
        raise KeyboardInterrupt

    pipelines.intruder = killed
    interrupted.enqueue()
    with pytest.raises(KeyboardInterrupt):
        dead.work()

    dead.die()
    dispatch.run_due(5)

    assert Attempt.objects.get().step_key == ""


def test_a_step_in_which_five_workers_in_a_row_are_lost_is_poison():
    def killed():
        raise KeyboardInterrupt

    pipelines.intruder = killed
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
    pipelines.intruder = lambda: None
    assert work() == [Succeeded("null")]


def test_a_step_finished_between_two_losses_makes_the_count_start_again():
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


def test_after_a_start_of_the_database_workers_have_time_to_take_their_locks_again(monkeypatch):
    monkeypatch.setattr(dispatch, "SETTLING", timedelta(days=10_000))
    unlocked = InProcessWorker()
    unlocked.die()

    assert dispatch.run_due(5).dead == ()
    assert Worker.objects.get(pk=unlocked.row.pk).ended_at is None


def test_a_silent_worker_is_dead_although_it_holds_its_lock():
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

    pipelines.intruder = cancel
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

    # The cancel was made inside the step's own transaction here, so it goes back with it: nothing of either remains.
    assert not Group.objects.exists()
    assert not Step.objects.exists()


def test_a_task_claimed_by_a_worker_that_had_just_been_ended_is_given_back():
    ended = InProcessWorker()
    ended.leave()
    task = interrupted.enqueue()
    Task.objects.filter(pk=task.pk).update(status="running", worker=ended.row, lease=1, started_at=task.created_at)

    assert dispatch.run_due(5).claimable == 1

    assert Task.objects.get().status == "queued"
    assert Worker.objects.get(pk=ended.row.pk).end_reason == "stopped"


def test_a_worker_that_was_taken_for_dead_claims_its_next_task_as_a_new_one():
    first = InProcessWorker()
    second = InProcessWorker()

    def reborn():
        first.row = second.row

    pipelines.intruder = reborn
    interrupted.enqueue()
    later = interrupted.enqueue()

    first.work()

    assert Task.objects.get(pk=later.pk).worker_id == second.row.pk
