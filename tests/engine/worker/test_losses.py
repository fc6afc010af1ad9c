"""Only a process that died counts towards poison, and only for the task that it executed."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.maintenance.recovery import POISON, Loss, explain, recover
from taskqueue.engine.runtime.outcomes import DatabaseLost
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.engine.worker.heartbeat import loss_by
from taskqueue.models import Attempt, Task, Worker
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db(transaction=True)

FULL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON taskqueue_step FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture(autouse=True)
def _settled_database(monkeypatch):
    monkeypatch.setattr(dispatch, "SETTLING", timedelta(0))


@pytest.fixture
def refusing(request):
    with connection.cursor() as cursor:
        cursor.execute(FULL.format(code=request.param))
    yield request.param
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION refuse CASCADE")


def lose_by_the_database() -> DatabaseLost:
    """Work until the database fails, and let go of everything as the worker's process does then."""
    worker = InProcessWorker()
    with pytest.raises(DatabaseLost) as caught:
        worker.work()
    recover(worker.worker, reason="for this test", loss=loss_by(caught.value, worker.activity.in_hand))
    worker.die()
    return caught.value


@pytest.mark.parametrize("refusing", ["53100", "57014", "25006"], indirect=True)
def test_a_database_that_takes_nothing_in_is_never_poison_and_backs_off(refusing):
    task = one_step.enqueue(1)
    waits = []
    for _ in range(POISON + 2):
        lose_by_the_database()
        now = Task.objects.get()
        waits.append(now.status)
        advance(hours=1)

    assert waits == ["queued", *["retrying"] * (POISON + 1)]
    attempts = list(Attempt.objects.filter(task=task).order_by("number"))
    assert {(each.step_key, each.outcome) for each in attempts} == {("one", "lost")}
    assert all(each.error_message.startswith(f"{refusing}: could not extend file") for each in attempts)

    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse ON taskqueue_step")
    work()
    assert Task.objects.get().status == "succeeded"


def test_a_value_that_the_database_refuses_is_a_failed_try_of_its_step():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskqueue_step ADD CONSTRAINT refused CHECK (output <> '2'::jsonb)")
    try:
        one_step.enqueue(1)
        work()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE taskqueue_step DROP CONSTRAINT refused")

    attempt = Attempt.objects.get()
    assert (attempt.step_key, attempt.outcome, attempt.error_type) == ("one", "failed", "IntegrityError")
    assert Task.objects.get().status == "retrying"


def held_by(worker: InProcessWorker, number: int) -> list[UUID]:
    ids = [one_step.enqueue(each).pk for each in range(number)]
    assert len(claim(ClaimRequest(worker.row.pk, most=number))) == number
    return ids


def test_a_death_is_a_lost_attempt_of_the_task_in_hand_alone():
    dead = InProcessWorker()
    tasks = held_by(dead, 4)

    recover(dead.worker, reason="it was killed by SIGKILL", loss=Loss(task=tasks[2], step="one"))

    attempt = Attempt.objects.get()
    assert (attempt.task_id, attempt.step_key, attempt.error_type) == (tasks[2], "one", "WorkerLost")
    assert attempt.error_message.endswith("was lost: it was killed by SIGKILL.")
    assert set(Task.objects.values_list("status", flat=True)) == {"queued"}


@pytest.mark.parametrize("told", [False, True])
def test_who_cannot_know_takes_what_the_heart_wrote_or_the_first_that_was_claimed(told):
    dead = InProcessWorker()
    tasks = held_by(dead, 4)
    if told:
        Worker.objects.filter(pk=dead.worker).update(task_id=tasks[3])
    dead.die()

    dispatch.run_due(5)

    assert Attempt.objects.get().task_id == (tasks[3] if told else tasks[0])


def test_a_worker_that_died_between_two_tasks_costs_none_of_them_anything():
    dead = InProcessWorker()
    held_by(dead, 3)

    assert recover(dead.worker, reason="it was killed", loss=Loss(task=None)) == 3
    assert not Attempt.objects.exists()


def test_what_the_parent_knows_is_told_although_somebody_else_came_first():
    for _ in range(POISON):
        dead = InProcessWorker()
        if not Task.objects.exists():
            one_step.enqueue(1)
        (lease,) = claim(ClaimRequest(dead.worker))
        dead.die()
        dispatch.run_due(5)
        explain(dead.worker, Loss(task=lease.task, step="one"), reason="its process was killed by SIGSEGV")

    attempts = Attempt.objects.all()
    assert {(each.step_key, each.outcome) for each in attempts} == {("one", "lost")}
    assert all("was lost: its process was killed by SIGSEGV." in each.error_message for each in attempts)
    assert Task.objects.get().error == {
        "type": "Poison",
        "step": "one",
        "message": "5 workers in a row were lost in it; the last: its process was killed by SIGSEGV.",
    }


def test_workers_that_are_killed_because_their_pool_stops_are_not_poison():
    one_step.enqueue(1)
    for _ in range(POISON + 1):
        stopped = InProcessWorker()
        (lease,) = claim(ClaimRequest(stopped.worker))
        recover(stopped.worker, reason="it was stopped", loss=Loss(task=lease.task, error_type="WorkerStopped"))

    assert Task.objects.get().status == "queued"
