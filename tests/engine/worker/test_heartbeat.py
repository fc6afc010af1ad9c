"""A worker's heartbeat: its row, its lock, and what it writes while the worker works."""

from __future__ import annotations

import threading
from contextlib import closing
from fractions import Fraction

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from taskqueue.engine.execution.async_step_calls import AsyncStepCaller
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.execution.task_handle import TaskHandle
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.heartbeat import Heartbeat, live_workers
from taskqueue.engine.worker.heartbeat_thread import HeartbeatThread, private_connection
from taskqueue.models import Task, Worker
from taskqueue.pool.shared_memory import SharedWorkerState
from tests.support.database.connections import cut_connections
from tests.support.database.schema_changes import change
from tests.support.leases import take
from tests.support.pipelines.basic import one, one_step
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_is_live_until_it_stops(heartbeat):
    row = live_workers().get()
    assert (row.pk, row.cluster, row.ended_at) == (heartbeat.worker, "a-cluster", None)
    assert dispatch.find_due_work(1).dead_workers == ()

    heartbeat.stop("recycled")

    row.refresh_from_db()
    assert row.end_reason == "recycled"
    assert not live_workers().exists()


def test_a_long_step_is_written_to_the_workers_row(heartbeat):
    one_step.enqueue(1)
    lease = take(heartbeat.worker)
    heartbeat.activity.begin_task(lease)
    heartbeat.activity.begin_step("one", one.definition, failures=0)

    eventually(lambda: Worker.objects.get().step == "one")
    row = Worker.objects.get()
    assert row.task_id == lease.task
    assert row.step_started_at is not None
    assert row.step_started_at < row.heartbeat_at

    heartbeat.activity.set_idle()
    eventually(lambda: Worker.objects.get().task_id is None)


def test_progress_is_fenced_by_its_lease(heartbeat):
    one_step.enqueue(1)
    lease = take(heartbeat.worker)

    heartbeat.activity.progress = (lease, 0.4, "page 4 of 10")
    eventually(lambda: Task.objects.get().progress == 0.4)
    assert Task.objects.get().progress_note == "page 4 of 10"

    Task.objects.update(lease=2)
    heartbeat.activity.progress = (lease, 0.9, "too late")
    eventually(lambda: heartbeat.activity.progress is None)
    assert Task.objects.get().progress == 0.4


def test_a_worker_reacquires_its_lock_after_a_lost_connection(heartbeat):
    before = heartbeat.worker

    cut_connections()
    eventually(lambda: before in dispatch.find_due_work(1).dead_workers)

    eventually(lambda: dispatch.find_due_work(1).dead_workers == ())
    assert (heartbeat.worker, Worker.objects.get().ended_at) == (before, None)


def test_the_crash_record_of_a_new_row_names_the_thread_that_executes(heartbeat):
    record = SharedWorkerState()
    heartbeat.crash_record = record
    Worker.objects.update(ended_at=Now())

    heartbeat.claim_error = "for this test"  # it writes the row at once

    eventually(lambda: record.read().worker)
    assert (record.read().worker, record.read().thread) == (heartbeat.worker, threading.get_ident())


def session_with_lock(worker: int) -> int:
    """The session that has a worker's lock, in this test's database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
            "WHERE datname = current_database() AND locktype = 'advisory' AND objid = %s AND granted",
            [worker],
        )
        return cursor.fetchone()[0]


def test_a_locked_task_table_does_not_stop_the_heartbeat(heartbeat):
    one_step.enqueue(1)
    heartbeat.activity.begin_task(take(heartbeat.worker))
    eventually(lambda: Worker.objects.get().task_id is not None)
    session = session_with_lock(heartbeat.worker)

    with closing(private_connection()) as other, other.transaction():
        other.execute("LOCK TABLE taskqueue_task")
        for news in ("first", "second", "third"):
            heartbeat.claim_error = news
            eventually(Worker.objects.filter(claim_error=news).exists)

    assert session_with_lock(heartbeat.worker) == session
    heartbeat.activity.set_idle()


def test_a_worker_whose_row_is_locked_keeps_its_advisory_lock(heartbeat):
    eventually(lambda: heartbeat.activity.current is heartbeat._written_work)
    session = session_with_lock(heartbeat.worker)

    with transaction.atomic():
        Worker.objects.select_for_update().get()
        heartbeat.claim_error = "locked"
        eventually(lambda: waits_for_a_lock(session))
        eventually(lambda: not waits_for_a_lock(session))
    eventually(lambda: Worker.objects.get().claim_error == "locked")

    assert session_with_lock(heartbeat.worker) == session


def waits_for_a_lock(session: int) -> bool:
    """Whether a session is blocked by another."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [session])
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def test_an_error_at_one_worker_leaves_the_others_of_its_process_their_heartbeats(monkeypatch):
    thread = HeartbeatThread()
    broken, sound = Heartbeat("a", number=0, thread=thread), Heartbeat("a", number=1, thread=thread)
    for each in (broken, sound):
        each.start()
    session = session_with_lock(sound.worker)

    def fail(**_: object) -> bool:
        raise psycopg.errors.UniqueViolation("for this test")

    monkeypatch.setattr(broken, "check", fail)
    sound.claim_error = "written"
    eventually(Worker.objects.filter(claim_error="written").exists)

    assert session_with_lock(sound.worker) == session_with_lock(broken.worker) == session
    for each in (broken, sound):
        each.stop()


def test_a_worker_presumed_dead_registers_again(heartbeat):
    before = heartbeat.worker
    Worker.objects.update(ended_at=Now())
    cut_connections()

    eventually(lambda: heartbeat.worker != before)

    assert live_workers().get().pk == heartbeat.worker


@pytest.fixture
def no_row_is_committed():
    """The commit of a new worker's row fails."""
    change(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused at its commit'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON taskqueue_worker
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    yield
    change("DROP FUNCTION refuse CASCADE")


def test_no_claim_uses_an_uncommitted_worker(no_row_is_committed):
    heartbeat = Heartbeat("a-cluster")

    with pytest.raises(psycopg.Error, match="refused at its commit"):
        heartbeat.start()
    heartbeat.stop()

    assert heartbeat.worker == 0


def test_renewing_releases_the_workers_tasks(heartbeat):
    before = heartbeat.worker
    one_step.enqueue(1)
    take(heartbeat.worker)

    heartbeat.renew(OperationalError("no answer"))

    assert heartbeat.worker != before
    assert Task.objects.get().status == "queued"
    assert Worker.objects.get(pk=before).ended_at is not None
    assert live_workers().get().pk == heartbeat.worker


def test_stopping_twice_or_without_a_database_is_no_error(heartbeat):
    cut_connections()

    heartbeat.stop()
    heartbeat.stop()


def test_tasks_prefetched_behind_a_slow_task_are_released(heartbeat):
    for number in range(3):
        one_step.enqueue(number)
    slow, *behind = claim(ClaimRequest(heartbeat.worker, most=3))
    heartbeat.activity.prefetched.extend(behind)
    heartbeat.activity.begin_task(slow)

    eventually(lambda: Task.objects.filter(status="queued").count() == 2)

    assert not heartbeat.activity.prefetched
    assert Task.objects.get(status="running").pk == slow.task


def test_a_failed_release_is_retried(heartbeat):
    for number in range(2):
        one_step.enqueue(number)
    slow, behind = claim(ClaimRequest(heartbeat.worker, most=2))
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=behind.task)
        heartbeat.activity.prefetched.append(behind)
        heartbeat.activity.begin_task(slow)
        eventually(lambda: not heartbeat.activity.prefetched)
        beaten_at = Worker.objects.get().heartbeat_at
        heartbeat.activity.begin_step("one", one.definition, failures=0)
        eventually(lambda: Worker.objects.get().heartbeat_at > beaten_at)

    eventually(lambda: Task.objects.get(pk=behind.task).status == "queued")


@pytest.mark.parametrize("fraction", [True, 1, 0.5, Fraction(1, 3)])
def test_any_number_is_valid_progress(heartbeat, fraction):
    one_step.enqueue(1)
    lease = take(heartbeat.worker)
    execution = Execution(Journal(lease), heartbeat.activity, lambda: False)
    handle = TaskHandle(execution, AsyncStepCaller(execution))

    handle.progress(fraction)

    eventually(lambda: Task.objects.get().progress == float(fraction))
    assert dispatch.find_due_work(1).dead_workers == ()


def test_a_long_step_learns_that_its_task_was_cancelled(heartbeat):
    task = one_step.enqueue(1)
    execution = Execution(Journal.load(take(heartbeat.worker)), heartbeat.activity, lambda: False)
    handle = TaskHandle(execution, AsyncStepCaller(execution))
    heartbeat.activity.begin_task(execution.lease)
    assert not handle.cancelled

    control.cancel(task.pk)

    eventually(lambda: handle.cancelled)
