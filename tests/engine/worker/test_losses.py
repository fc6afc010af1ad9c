"""Only a process that died counts towards poison, and only for the task that it executed."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.maintenance.recovery import POISON, POISON_IN_COMPANY, Loss, explain, recover
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import DatabaseLost
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.heartbeat import loss_by
from taskqueue.models import Attempt, Task, Worker
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.pipelines.basic import one_step, three_steps

pytestmark = pytest.mark.django_db(transaction=True)

FULL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON taskqueue_step FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture(autouse=True)
def _settled_database(monkeypatch):
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(0))


@pytest.fixture
def refusing(request):
    with connection.cursor() as cursor:
        cursor.execute(FULL.format(code=request.param))
    yield request.param
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION refuse CASCADE")


def lose_by_the_database() -> DatabaseLost:
    """Work until the database fails, and release the tasks as a worker process does."""
    worker = InProcessWorker()
    with pytest.raises(DatabaseLost) as caught:
        worker.work()
    recover(worker.worker, reason="for this test", loss=loss_by(caught.value, worker.activity.unsettled_lease))
    worker.die()
    return caught.value


@pytest.mark.parametrize("refusing", ["53100", "57014", "25006"], indirect=True)
def test_a_read_only_database_backs_off_and_is_never_poison(refusing):
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


def test_a_value_that_the_database_refuses_fails_its_step():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskqueue_step ADD CONSTRAINT refused CHECK (output <> '2'::jsonb)")
    try:
        three_steps.enqueue(1)
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


def test_a_death_is_a_lost_attempt_of_the_current_task_only():
    dead = InProcessWorker()
    tasks = held_by(dead, 4)

    recover(dead.worker, reason="it was killed by SIGKILL", loss=Loss(task=tasks[2], step="one"))

    attempt = Attempt.objects.get()
    assert (attempt.task_id, attempt.step_key, attempt.error_type) == (tasks[2], "one", "WorkerLost")
    assert attempt.error_message.endswith("was lost: it was killed by SIGKILL.")
    assert set(Task.objects.values_list("status", flat=True)) == {"queued"}


@pytest.mark.parametrize("has_heartbeat", [False, True])
def test_recovery_without_a_crash_record_uses_the_heartbeat(has_heartbeat):
    dead = InProcessWorker()
    tasks = held_by(dead, 4)
    if has_heartbeat:
        Worker.objects.filter(pk=dead.worker).update(task_id=tasks[3])
    dead.die()

    dispatch.run_due(5)

    assert Attempt.objects.get().task_id == (tasks[3] if has_heartbeat else tasks[0])


def test_deaths_in_company_fail_a_task_late():
    task = one_step.enqueue(1)
    for number in range(POISON_IN_COMPANY):
        assert Task.objects.get().status == "queued", number
        dead = InProcessWorker()
        claim(ClaimRequest(dead.worker))
        recover(dead.worker, reason="it was killed", loss=Loss(task=task.pk, step="one", had_company=True))

    assert Task.objects.get().status == "failed"
    assert set(Attempt.objects.values_list("error_type", flat=True)) == {"WorkerLostWithOthers"}


@pytest.mark.parametrize("is_first_recovered", [False, True])
def test_recovery_without_a_crash_record_knows_the_other_workers_of_the_process(is_first_recovered):
    one, other = InProcessWorker(), InProcessWorker()
    Worker.objects.update(cluster="shared")
    held_by(one, 1)
    held_by(other, 1)
    for each in (one, other):
        each.die()

    recover(one.worker, reason="it was killed")
    if is_first_recovered:
        recover(other.worker, reason="it was killed")

    assert Attempt.objects.count() == 1 + is_first_recovered
    assert set(Attempt.objects.values_list("error_type", flat=True)) == {"WorkerLostWithOthers"}


def test_a_death_between_tasks_costs_no_attempt():
    dead = InProcessWorker()
    held_by(dead, 3)

    assert recover(dead.worker, reason="it was killed", loss=Loss(task=None)) == 3
    assert not Attempt.objects.exists()


def test_the_cause_is_written_after_another_process_recovered_the_worker():
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


def test_workers_killed_by_a_stopping_pool_are_not_poison():
    one_step.enqueue(1)
    for _ in range(POISON + 1):
        stopped = InProcessWorker()
        (lease,) = claim(ClaimRequest(stopped.worker))
        recover(stopped.worker, reason="it was stopped", loss=Loss(task=lease.task, error_type="WorkerStopped"))

    assert Task.objects.get().status == "queued"
