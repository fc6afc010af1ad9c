"""The doorbell: rings when something can be claimed, passes on ordinary messages, and never spins."""

import threading
import time
from datetime import timedelta
from typing import Any, cast

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django_q.conf import Conf
from django_q.models import OrmQ, Success
from django_q.models import Task as Message
from django_q.tasks import async_task

from taskqueue.engine.runtime.notify import ring
from taskqueue.models import RollupMark, Task
from taskqueue.pool.listener import listens
from taskqueue.pool.notifier import FIRST_PAUSE, LONGEST_PAUSE, Doorbell, Rhythm
from taskqueue.pool.shared_memory import Board
from tests.support.database.schema_changes import change
from tests.support.processes.pipelines import take_a_nap
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import PATIENCE, eventually


@pytest.fixture
def doorbell(transactional_db):
    """A doorbell in this process."""
    bell = Doorbell(list_key="taskqueue")
    yield bell
    bell._listener.close()


def test_an_idle_doorbell_looks_once_a_second(doorbell):
    list(doorbell.dequeue())

    began = time.monotonic()
    assert not list(doorbell.dequeue())

    assert time.monotonic() - began > 0.9


def test_a_commit_elsewhere_is_heard_long_before_the_next_look(transactional_db, notes, monkeypatch):
    monkeypatch.setattr("taskqueue.pool.notifier.LONGEST_PAUSE", PATIENCE)
    looked = threading.Event()
    heard: list[bool] = []

    def listen() -> None:
        bell = Doorbell(list_key="taskqueue")
        try:
            list(bell.dequeue())
            looked.set()
            while not list(bell.dequeue()):
                pass
            heard.append(True)
        finally:
            bell._listener.close()
            connections.close_all()

    thread = threading.Thread(target=listen)
    thread.start()
    assert looked.wait(PATIENCE)
    with transaction.atomic():
        enqueue_walk(notes)
    thread.join(PATIENCE / 2)

    assert heard


def test_what_is_due_wakes_no_more_workers_than_there_is_room_for(doorbell, notes):
    enqueue_walk(notes)

    found = list(doorbell.dequeue())

    assert [ack_id for ack_id, _ in found] == [None] * Conf.WORKERS
    assert Task.objects.get().status == "queued", "the doorbell never claims"


def test_a_full_queue_is_not_rung_for(doorbell, notes):
    class FullQueue:
        def qsize(self) -> int:
            return 1000

    doorbell.feed(FullQueue(), Board(1))
    enqueue_walk(notes)

    assert not list(doorbell.dequeue())


def test_a_ring_wakes_a_waiting_worker_before_anything_is_looked_up(doorbell):
    class EmptyQueue:
        def qsize(self) -> int:
            return 0

    doorbell.feed(EmptyQueue(), Board(1))
    list(doorbell.dequeue())
    ring()

    assert len(list(doorbell.dequeue())) == 1
    assert not list(doorbell.dequeue())


def test_work_that_is_due_and_not_taken_is_rung_for_ever_more_rarely(doorbell, notes):
    enqueue_walk(notes)
    list(doorbell.dequeue())
    looks = 0

    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        list(doorbell.dequeue())
        looks += 1

    assert looks <= 9


def test_a_ring_ends_the_backing_off():
    rhythm = Rhythm()
    pauses = [rhythm.pause(rung=False, claimable=2, next_due_in=None) for _ in range(8)]

    assert pauses[0] == FIRST_PAUSE
    assert pauses[-1] == LONGEST_PAUSE
    assert rhythm.pause(rung=True, claimable=2, next_due_in=None) == FIRST_PAUSE
    assert rhythm.pause(rung=False, claimable=0, next_due_in=timedelta(milliseconds=300)) == 0.3
    assert rhythm.pause(rung=False, claimable=0, next_due_in=timedelta(hours=1)) == LONGEST_PAUSE


def test_a_timer_that_stays_due_does_not_spin():
    rhythm = Rhythm()

    pauses = [rhythm.pause(rung=False, claimable=0, next_due_in=timedelta(0)) for _ in range(8)]

    assert sum(pauses) > 2


def test_a_broken_connection_is_one_line_and_then_forgotten(doorbell, caplog):
    list(doorbell.dequeue())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
        )

    with caplog.at_level("INFO", logger="taskqueue.workers"):
        list(doorbell.dequeue())
        list(doorbell.dequeue())

    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert all(len(record.getMessage().splitlines()) == 1 for record in caplog.records)


def test_a_pooler_that_would_swallow_rings_is_found_out(transactional_db):
    class Info:
        backend_pid = -1

    class Pooled:
        """A connection as pgbouncer hands it out: everything works, but the process id is made up."""

        def __init__(self, server):
            self.execute, self.info = server.execute, Info()

    connection.ensure_connection()

    assert not listens(cast("psycopg.Connection[Any]", Pooled(connection.connection)))
    assert listens(connection.connection)
    with connection.cursor() as cursor:
        cursor.execute("UNLISTEN *")


def test_an_ordinary_message_joins_the_callers_transaction(transactional_db):
    with transaction.atomic():
        async_task("operator.add", 1, 2)
        transaction.set_rollback(True)

    assert not OrmQ.objects.exists()


def test_an_ordinary_message_is_passed_on_also_when_the_look_after_it_fails(doorbell):
    list(doorbell.dequeue())
    async_task("operator.add", 1, 2)
    change("ALTER TABLE taskqueue_task RENAME COLUMN sort_at TO sorted_at")
    try:
        passed_on = [number for number, _package in doorbell.dequeue() if number is not None]
    finally:
        change("ALTER TABLE taskqueue_task RENAME COLUMN sorted_at TO sort_at")

    assert passed_on == [OrmQ.objects.get().pk]


@pytest.mark.process
def test_an_ordinary_message_is_executed_and_its_result_kept(start):
    command = start()

    async_task("tests.support.processes.pipelines.add", 20, 22)

    eventually(Success.objects.exists, otherwise=command.said)
    assert Success.objects.get().result == 42
    eventually(lambda: not OrmQ.objects.exists(), otherwise=command.said)


@pytest.mark.process
def test_an_ordinary_message_that_wakes_a_worker_is_a_wakeup(start, notes):
    command = start()

    async_task("taskqueue.pool.claimed_tasks.answer", save=True)

    eventually(Message.objects.exists, otherwise=command.said)
    assert Message.objects.get().success
    assert Message.objects.get().result is None


@pytest.mark.process
def test_ordinary_messages_that_no_worker_has_begun_are_given_back_by_a_stop(start, notes):
    command = start(processes=1)
    for _ in range(4):
        async_task("tests.support.processes.pipelines.wait_at_gate", str(notes.path))
    eventually(lambda: notes.lines(), otherwise=command.said)

    command.process.terminate()
    unlocked = OrmQ.objects.filter(lock__lte=Now())
    eventually(lambda: unlocked.count() == 3, otherwise=command.said)
    notes.open_gate()
    assert command.wait() == 0, command.said()

    assert Success.objects.count() == 1
    assert OrmQ.objects.count() == unlocked.count() == 3


@pytest.mark.process
def test_due_work_that_nobody_can_claim_makes_nobody_spin(start, notes):
    command = start()
    with transaction.atomic():
        task = enqueue_walk(notes)
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=task.pk)
        before = commits()
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 2)
        spent = commits() - before

    # Some hundreds a second for each idle worker, if nobody held back.
    assert spent < 120
    eventually(lambda: finished(task), otherwise=command.said)


def commits() -> int:
    """How many transactions this database has ended so far, as another session sees it."""
    session = connections.create_connection("default")
    try:
        with session.cursor() as cursor:
            cursor.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
            return int(cursor.fetchone()[0])
    finally:
        session.close()


@pytest.mark.slow
@pytest.mark.process
def test_a_backlog_of_one_pipeline_keeps_every_worker_of_the_pool_at_work(start):
    command = start(processes=5, budget=0.05)

    with transaction.atomic():
        for _ in range(25):
            take_a_nap.enqueue(0.6)
    eventually(lambda: Task.objects.filter(status="succeeded").count() == 25, otherwise=command.said)

    spans = list(Task.objects.values_list("started_at", "finished_at"))
    assert max(sum(begun <= at < ended for begun, ended in spans) for at, _ in spans) == 5


def test_a_doorbell_rolls_up_what_has_passed_but_not_at_every_look(doorbell):
    list(doorbell.dequeue())
    first = RollupMark.objects.get().rolled_up_until
    RollupMark.objects.update(rolled_up_until=first - timedelta(minutes=5), final_until=first - timedelta(minutes=5))

    list(doorbell.dequeue())
    assert RollupMark.objects.get().rolled_up_until < first

    doorbell._tidied_at = 0.0
    list(doorbell.dequeue())
    assert RollupMark.objects.get().rolled_up_until >= first
