"""The notifier wakes workers when a task can be claimed, passes on ordinary messages, and never spins."""

import multiprocessing
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django_q.conf import Conf
from django_q.models import OrmQ, Success
from django_q.models import Task as Message
from django_q.tasks import async_task

from taskqueue.engine.runtime.notify import notify_now
from taskqueue.engine.runtime.taken_queues import taking
from taskqueue.models import RollupMark, Task
from taskqueue.pool.claimed_tasks import Messages
from taskqueue.pool.listener import try_listen
from taskqueue.pool.notifier import FIRST_PAUSE, MAX_PAUSE, NotifierBroker, PollBackoff
from taskqueue.pool.shared_memory import Bell, PoolStatus
from taskqueue.queues import TakenQueues
from taskqueue.testing import advance
from tests.support.database.costs import commits
from tests.support.database.schema_changes import change
from tests.support.pipelines.basic import one_step
from tests.support.processes.pipelines import take_a_nap
from tests.support.processes.worker_command import enqueue_walk, finished
from tests.support.waiting import WAIT_TIMEOUT, eventually


@pytest.fixture
def notifier(transactional_db):
    """A notifier in this process."""
    notifier = NotifierBroker(list_key="taskqueue")
    yield notifier
    notifier._listener.close()


def test_an_idle_notifier_polls_once_a_second(notifier):
    list(notifier.dequeue())

    began = time.monotonic()
    assert not list(notifier.dequeue())

    assert time.monotonic() - began > 0.9


def test_a_commit_elsewhere_wakes_the_notifier_before_its_next_poll(transactional_db, notes, monkeypatch):
    monkeypatch.setattr("taskqueue.pool.notifier.MAX_PAUSE", WAIT_TIMEOUT)
    polled = threading.Event()
    heard: list[bool] = []

    def listen() -> None:
        notifier = NotifierBroker(list_key="taskqueue")
        try:
            list(notifier.dequeue())
            polled.set()
            while not list(notifier.dequeue()):
                pass
            heard.append(True)
        finally:
            notifier._listener.close()
            connections.close_all()

    thread = threading.Thread(target=listen)
    thread.start()
    assert polled.wait(WAIT_TIMEOUT)
    with transaction.atomic():
        enqueue_walk(notes)
    thread.join(WAIT_TIMEOUT / 2)

    assert heard


def test_due_work_wakes_at_most_the_pools_workers(notifier, notes):
    enqueue_walk(notes)

    found = list(notifier.dequeue())

    assert [ack_id for ack_id, _ in found] == [None] * Conf.WORKERS
    assert Task.objects.get().status == "queued", "the notifier claims no task"


def test_work_of_other_queues_wakes_no_worker(notifier, notes):
    enqueue_walk(notes)

    with taking(TakenQueues((), ("default",))):
        assert not list(notifier.dequeue())
    assert list(notifier.dequeue())


def test_a_full_queue_gets_no_wakeup(notifier, notes):
    class FullQueue:
        def qsize(self) -> int:
            return 1000

    notifier.attach(FullQueue(), PoolStatus(1))
    enqueue_walk(notes)

    assert not list(notifier.dequeue())


class EmptyQueue:
    def qsize(self) -> int:
        return 0


def test_a_busy_pool_gets_no_message_and_its_free_threads_are_woken(notifier, notes):
    """A queue that no process reads would fill, and block the notifier."""
    status = PoolStatus(1, threads=2)
    status.mark_busy(0)
    status.mark_free_threads(0, 1)
    notifier.attach(EmptyQueue(), status)
    async_task("operator.add", 1, 2)
    enqueue_walk(notes)

    assert list(notifier.dequeue()) == []
    assert status.bell(0).wait(0)

    status.mark_idle(0)
    assert [ack_id is not None for ack_id, _ in notifier.dequeue()].count(True) == 1


def test_a_notification_wakes_an_idle_worker_before_any_query(notifier):
    status = PoolStatus(3)
    notifier.attach(EmptyQueue(), status)
    list(notifier.dequeue())
    notify_now()

    assert next(notifier.dequeue(), None) is None
    assert [index for index in range(3) if status.bell(index).wait(0)] == [0]
    list(notifier.dequeue())
    assert not any(status.bell(index).wait(0) for index in range(3))


def test_notifications_in_a_row_wake_one_process_each():
    status = PoolStatus(3)

    for index in (0, 1, 2, 0):
        assert status.ring(every=False)
        assert [each for each in range(3) if status.bell(each).wait(0)] == [index]

    status.mark_busy(1)
    assert status.ring(every=True)
    assert [each for each in range(3) if status.bell(each).wait(0)] == [0, 2]


def test_an_idle_process_hears_rings_and_messages():
    bell = Bell()
    messages: Any = multiprocessing.Queue()
    waiting = Messages(messages, bell)

    bell.ring()
    bell.ring()
    assert waiting.get()["name"] == "wake-up"
    messages.put("an ordinary message")
    assert waiting.get() == "an ordinary message"
    assert not bell.wait(0)


def test_rings_do_not_keep_an_ordinary_message_waiting():
    bell = Bell()
    messages: Any = multiprocessing.Queue()
    messages.put("an ordinary message")
    eventually(lambda: not messages.empty())
    waiting = Messages(messages, bell)

    found = []
    for _ in range(3):
        bell.ring()
        message = waiting.get()
        found.append(message if isinstance(message, str) else message["name"])

    assert found == ["wake-up", "an ordinary message", "wake-up"]


def test_a_message_that_another_process_reads_first_is_not_waited_for():
    bell = Bell()
    messages: Any = multiprocessing.Queue()
    messages.put("for another process")
    eventually(lambda: not messages.empty())
    messages._rlock.acquire()

    def read_first() -> None:
        messages._recv_bytes()
        messages._rlock.release()
        bell.ring()

    later = threading.Timer(0.2, read_first)
    later.start()

    assert Messages(messages, bell).get()["name"] == "wake-up"
    later.join()


def test_unclaimed_work_wakes_workers_ever_more_rarely(notifier, notes):
    enqueue_walk(notes)
    list(notifier.dequeue())
    polls = 0

    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        list(notifier.dequeue())
        polls += 1

    assert polls <= 9


def test_new_work_ends_the_backoff():
    backoff = PollBackoff()
    pauses = [backoff.pause(is_new=False, claimable=2, next_due_in=None) for _ in range(8)]

    assert pauses[0] == FIRST_PAUSE
    assert pauses[-1] == MAX_PAUSE
    assert backoff.pause(is_new=True, claimable=2, next_due_in=None) == FIRST_PAUSE
    assert backoff.pause(is_new=False, claimable=0, next_due_in=timedelta(milliseconds=300)) == 0.3
    assert backoff.pause(is_new=False, claimable=0, next_due_in=timedelta(hours=1)) == MAX_PAUSE


def test_a_timer_that_becomes_due_ends_the_backoff(notifier, notes):
    enqueue_walk(notes)
    later = one_step.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(1)
    for _ in range(5):
        list(notifier.dequeue())
    assert notifier._pause > FIRST_PAUSE

    advance(hours=1)
    list(notifier.dequeue())

    assert Task.objects.get(pk=later.pk).status == "queued"
    assert notifier._pause == FIRST_PAUSE


def test_a_timer_that_stays_due_does_not_spin():
    backoff = PollBackoff()

    pauses = [backoff.pause(is_new=False, claimable=0, next_due_in=timedelta(0)) for _ in range(8)]

    assert sum(pauses) > 2


def test_a_broken_connection_is_logged_in_two_lines(notifier, caplog):
    list(notifier.dequeue())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
        )

    with caplog.at_level("INFO", logger="taskqueue.workers"):
        list(notifier.dequeue())
        list(notifier.dequeue())

    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert all(len(record.getMessage().splitlines()) == 1 for record in caplog.records)


def test_a_pooler_that_discards_notifications_is_detected(transactional_db):
    class Info:
        backend_pid = -1

    class Pooled:
        """A connection of pgbouncer: it works, but its process id is not the server's."""

        def __init__(self, server):
            self.execute, self.info = server.execute, Info()

    connection.ensure_connection()

    assert not try_listen(cast("psycopg.Connection[Any]", Pooled(connection.connection)))
    assert try_listen(connection.connection)
    with connection.cursor() as cursor:
        cursor.execute("UNLISTEN *")


def test_an_ordinary_message_joins_the_callers_transaction(transactional_db):
    with transaction.atomic():
        async_task("operator.add", 1, 2)
        transaction.set_rollback(True)

    assert not OrmQ.objects.exists()


def test_an_ordinary_message_is_passed_on_when_the_query_fails(notifier):
    list(notifier.dequeue())
    async_task("operator.add", 1, 2)
    change("ALTER TABLE taskqueue_task RENAME COLUMN sort_at TO sorted_at")
    try:
        passed_on = [number for number, _package in notifier.dequeue() if number is not None]
    finally:
        change("ALTER TABLE taskqueue_task RENAME COLUMN sorted_at TO sort_at")

    assert passed_on == [OrmQ.objects.get().pk]


@pytest.mark.process
def test_an_ordinary_message_is_executed_and_its_result_kept(start):
    command = start()

    async_task("tests.support.processes.pipelines.add", 20, 22)

    eventually(Success.objects.exists, details=command.output)
    assert Success.objects.get().result == 42
    eventually(lambda: not OrmQ.objects.exists(), details=command.output)


@pytest.mark.process
def test_an_ordinary_message_can_wake_a_worker(start, notes):
    command = start()

    async_task("taskqueue.pool.claimed_tasks.run_claimed_tasks", save=True)

    eventually(Message.objects.exists, details=command.output)
    assert Message.objects.get().success
    assert Message.objects.get().result is None


@pytest.mark.process
def test_a_stop_releases_messages_that_no_worker_began(start, notes):
    command = start(processes=1)
    for _ in range(4):
        async_task("tests.support.processes.pipelines.wait_for_release", str(notes.path))
    eventually(lambda: notes.lines(), details=command.output)

    command.process.terminate()
    unlocked = OrmQ.objects.filter(lock__lte=Now())
    eventually(lambda: unlocked.count() == 3, details=command.output)
    notes.release_steps()
    assert command.wait() == 0, command.output()

    assert Success.objects.count() == 1
    assert OrmQ.objects.count() == unlocked.count() == 3


@pytest.mark.process
def test_work_that_cannot_be_claimed_makes_no_worker_spin(start, notes):
    command = start()
    with transaction.atomic():
        task = enqueue_walk(notes)
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=task.pk)
        before = commits()
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 2)
        spent, seconds = commits() - before, time.monotonic() - began

    # Without the backoff: some hundreds per second and idle worker.
    assert spent < 60 * seconds
    eventually(lambda: finished(task), details=command.output)


@pytest.mark.slow
@pytest.mark.process
def test_a_backlog_of_one_pipeline_keeps_all_workers_busy(start):
    command = start(processes=5, loop_time=0.05)

    with transaction.atomic():
        for _ in range(25):
            take_a_nap.enqueue(0.6)
    eventually(lambda: Task.objects.filter(status="succeeded").count() == 25, details=command.output)

    spans = list(Task.objects.values_list("started_at", "finished_at"))
    assert max(sum(started <= at < ended for started, ended in spans) for at, _ in spans) == 5


def test_a_notifier_rolls_up_but_not_at_every_poll(notifier):
    list(notifier.dequeue())
    first = RollupMark.objects.get().rolled_up_until
    RollupMark.objects.update(rolled_up_until=first - timedelta(minutes=5), final_until=first - timedelta(minutes=5))

    list(notifier.dequeue())
    assert RollupMark.objects.get().rolled_up_until < first

    notifier._swept_at = 0.0
    list(notifier.dequeue())
    assert RollupMark.objects.get().rolled_up_until >= first
