"""A worker's heart: its row, its lock, and what it writes while the worker works."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.run import Execution
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.engine.worker.heartbeat import Heartbeat, live_workers, private_connection
from taskqueue.models import Task, Worker
from tests.support.database.schema_changes import change
from tests.support.leases import take
from tests.support.pipelines.basic import one, one_step
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def cut_the_hearts_connection() -> None:
    """End every connection to this database but the test's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


def test_a_worker_is_live_while_its_heart_beats_and_ended_when_it_stops(heart):
    row = live_workers().get()
    assert (row.pk, row.cluster, row.ended_at) == (heart.worker, "a-cluster", None)
    assert dispatch.look(1).dead == ()

    heart.stop("recycled")

    row.refresh_from_db()
    assert row.end_reason == "recycled"
    assert not live_workers().exists()


def test_what_a_worker_is_at_is_written_once_it_lasts_and_cleared_afterwards(heart):
    one_step.enqueue(1)
    lease = take(heart.worker)
    heart.activity.begin_task(lease)
    heart.activity.begin_step("one", one.definition, failures=0)

    eventually(lambda: Worker.objects.get().step == "one")
    row = Worker.objects.get()
    assert row.task_id == lease.task
    assert row.step_started_at is not None
    assert row.step_started_at < row.heartbeat_at

    heart.activity.rest()
    eventually(lambda: Worker.objects.get().task_id is None)


def test_progress_is_written_under_the_lease_for_which_it_was_reported(heart):
    one_step.enqueue(1)
    lease = take(heart.worker)

    heart.activity.progress = (lease, 0.4, "page 4 of 10")
    eventually(lambda: Task.objects.get().progress == 0.4)
    assert Task.objects.get().progress_note == "page 4 of 10"

    Task.objects.update(lease=2)
    heart.activity.progress = (lease, 0.9, "too late")
    eventually(lambda: heart.activity.progress is None)
    assert Task.objects.get().progress == 0.4


def test_a_worker_whose_connection_was_cut_keeps_its_row_and_takes_its_lock_again(heart):
    before = heart.worker

    cut_the_hearts_connection()
    eventually(lambda: before in dispatch.look(1).dead)

    eventually(lambda: dispatch.look(1).dead == ())
    assert (heart.worker, Worker.objects.get().ended_at) == (before, None)


def holder_of_the_lock(worker: int) -> int:
    """The session that holds a worker's lock. Other tests may have workers of this number in databases of their own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
            "WHERE datname = current_database() AND locktype = 'advisory' AND objid = %s AND granted",
            [worker],
        )
        return cursor.fetchone()[0]


def test_a_worker_goes_on_beating_and_keeps_its_lock_while_the_table_of_tasks_is_locked(heart):
    one_step.enqueue(1)
    heart.activity.begin_task(take(heart.worker))
    eventually(lambda: Worker.objects.get().task_id is not None)
    holder = holder_of_the_lock(heart.worker)

    with closing(private_connection()) as other, other.transaction():
        other.execute("LOCK TABLE taskqueue_task")
        for news in ("first", "second", "third"):
            heart.claim_error = news
            eventually(Worker.objects.filter(claim_error=news).exists)

    assert holder_of_the_lock(heart.worker) == holder
    heart.activity.rest()


def test_a_worker_whose_own_row_is_locked_keeps_its_lock_and_beats_when_it_can(heart):
    eventually(lambda: heart.activity.doing is heart._written)
    holder = holder_of_the_lock(heart.worker)

    with transaction.atomic():
        Worker.objects.select_for_update().get()
        heart.claim_error = "locked"
        eventually(lambda: waits_for_a_lock(holder))
        eventually(lambda: not waits_for_a_lock(holder))
    eventually(lambda: Worker.objects.get().claim_error == "locked")

    assert holder_of_the_lock(heart.worker) == holder


def waits_for_a_lock(session: int) -> bool:
    """Whether a session waits for another one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [session])
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def test_a_worker_that_others_took_for_dead_goes_on_as_a_new_one(heart):
    before = heart.worker
    Worker.objects.update(ended_at=Now())
    cut_the_hearts_connection()

    eventually(lambda: heart.worker != before)

    assert live_workers().get().pk == heart.worker


@pytest.fixture
def no_row_is_committed():
    """A worker's row can be inserted, and its commit fails."""
    change(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused at its commit'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON taskqueue_worker
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    yield
    change("DROP FUNCTION refuse CASCADE")


def test_nobody_claims_under_a_worker_that_was_not_committed(no_row_is_committed):
    heart = Heartbeat("a-cluster")

    with pytest.raises(psycopg.Error, match="refused at its commit"):
        heart.start()
    heart.stop()

    assert heart.worker == 0


def test_renewing_gives_back_what_the_worker_held(heart):
    before = heart.worker
    one_step.enqueue(1)
    take(heart.worker)

    heart.renew(OperationalError("no answer"))

    assert heart.worker != before
    assert Task.objects.get().status == "queued"
    assert Worker.objects.get(pk=before).ended_at is not None
    assert live_workers().get().pk == heart.worker


def test_stopping_twice_and_without_a_database_is_no_error(heart):
    cut_the_hearts_connection()

    heart.stop()
    heart.stop()


def test_tasks_claimed_behind_a_slow_one_are_given_to_others(heart):
    for number in range(3):
        one_step.enqueue(number)
    slow, *behind = claim(ClaimRequest(heart.worker, most=3))
    heart.activity.ahead.extend(behind)
    heart.activity.begin_task(slow)

    eventually(lambda: Task.objects.filter(status="queued").count() == 2)

    assert not heart.activity.ahead
    assert Task.objects.get(status="running").pk == slow.task


def test_what_could_not_be_given_to_others_at_once_is_given_to_them_later(heart):
    for number in range(2):
        one_step.enqueue(number)
    slow, behind = claim(ClaimRequest(heart.worker, most=2))
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=behind.task)
        heart.activity.ahead.append(behind)
        heart.activity.begin_task(slow)
        eventually(lambda: not heart.activity.ahead)
        beaten_at = Worker.objects.get().heartbeat_at
        heart.activity.begin_step("one", one.definition, failures=0)
        eventually(lambda: Worker.objects.get().heartbeat_at > beaten_at)

    eventually(lambda: Task.objects.get(pk=behind.task).status == "queued")


@pytest.mark.parametrize("fraction", [True, 1, 0.5, Fraction(1, 3)])
def test_whatever_is_a_number_is_progress(heart, fraction):
    one_step.enqueue(1)
    lease = take(heart.worker)
    execution = Execution(Journal(lease), heart.activity, lambda: False)

    execution.progress(fraction)

    eventually(lambda: Task.objects.get().progress == float(fraction))
    assert dispatch.look(1).dead == ()


def test_a_heart_tells_a_long_step_that_its_task_was_cancelled(heart):
    task = one_step.enqueue(1)
    execution = Execution(Journal.load(take(heart.worker)), heart.activity, lambda: False)
    heart.activity.begin_task(execution.lease)
    assert not execution.cancelled

    control.cancel(task.pk)

    eventually(lambda: execution.cancelled)
