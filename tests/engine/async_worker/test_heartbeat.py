"""The heartbeat of an async worker: one row for many tasks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from taskqueue.definitions import StepDefinition
from taskqueue.engine.async_worker.event_loop import EventLoop
from taskqueue.engine.async_worker.heartbeat import AsyncHeartbeat, CompanyRecord, ExecutionRecord
from taskqueue.engine.async_worker.threads import AuthorThread, ConnectedThreads, DefaultThreads
from taskqueue.engine.author_code.chunks import written_text
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.heartbeat_thread import HeartbeatThread
from taskqueue.models import Attempt, Chunk, Task, Worker
from tests.support.pipelines.basic import one, one_step
from tests.support.waiting import eventually

MINUTE = timedelta(minutes=1)


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    loop.start(while_ticking=lambda: True, default_threads=DefaultThreads(1))
    yield loop
    loop.stop()


@pytest.fixture
def heartbeat(loop: EventLoop, transactional_db: None) -> Iterator[AsyncHeartbeat]:
    heartbeat = AsyncHeartbeat("tests", number=-1, slots=10, loop=loop, thread=HeartbeatThread())
    heartbeat.ensure_started()
    yield heartbeat
    heartbeat.stop()


def claimed(heartbeat: AsyncHeartbeat) -> Lease:
    one_step.enqueue(1)
    (lease,) = claim(ClaimRequest(heartbeat.worker))
    heartbeat.leases[lease.task] = lease
    return lease


def step_with_timeout(timeout: timedelta) -> StepDefinition:
    return replace(one.definition, timeout=timeout)


def test_a_short_block_does_not_shorten_a_hard_timeout():
    left: list[timedelta | None] = []
    activity = Activity(set_hard_timeout=left.append)
    activity.begin_step("one", step_with_timeout(10 * MINUTE), failures=0)

    activity.excuse(1.5)

    assert left[-1] is not None
    assert left[-1] > 10 * MINUTE


def test_a_step_whose_code_has_returned_cannot_pass_its_timeout():
    left: list[timedelta | None] = []
    activity = Activity(set_hard_timeout=left.append)
    activity.begin_step("one", step_with_timeout(MINUTE), failures=0)

    activity.note_return("one")

    assert left[-1] is None
    assert activity.current.step == "one"
    assert activity.current.timeout is None
    activity.end_step("one")


def test_what_several_tasks_write_is_added_but_that_of_a_locked_one_later(heartbeat):
    leases = [claimed(heartbeat), claimed(heartbeat)]
    activities = [heartbeat.begin(lease) for lease in leases]
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=leases[0].task)
        for lease, activity in zip(leases, activities, strict=True):
            activity.chunks.write(written_text("text", lease, "one", one.definition, target=lease.task, attempt=1))
        eventually(Chunk.objects.exists)
        assert [chunk.task_id for chunk in Chunk.objects.all()] == [leases[1].task]

    eventually(Chunk.objects.filter(task=leases[0].task, text="text").exists)
    assert not any(activity.chunks for activity in activities)
    for activity in activities:
        heartbeat.end(activity)


def test_a_task_that_is_locked_when_it_is_to_be_released_is_released_later(heartbeat, monkeypatch):
    monkeypatch.setattr("taskqueue.engine.async_worker.heartbeat.FORGOTTEN_AFTER", 0.5)
    monkeypatch.setattr("taskqueue.engine.async_worker.heartbeat.LOOK_EVERY", 0.1)
    lease = claimed(heartbeat)
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=lease.task)
            locked.set()
            release.wait(60)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(60)
    heartbeat.release_lost(lease, RuntimeError("an error of the engine"))
    del heartbeat.leases[lease.task]
    release.set()
    holder.join()

    eventually(lambda: Task.objects.get(pk=lease.task).status == "queued")
    assert Worker.objects.get(pk=heartbeat.worker).ended_at is None


def test_a_task_that_is_known_is_not_released(heartbeat, monkeypatch):
    monkeypatch.setattr("taskqueue.engine.async_worker.heartbeat.FORGOTTEN_AFTER", 0.0)
    lease = claimed(heartbeat)

    for _ in range(3):
        with heartbeat._thread.guard:
            heartbeat._looked_at = 0.0
            heartbeat.check(beats_only=False)

    assert Task.objects.get(pk=lease.task).status == "running"


def test_an_error_of_the_engine_is_a_lost_attempt_of_its_task(heartbeat):
    lease, other = claimed(heartbeat), claimed(heartbeat)

    heartbeat.release_lost(lease, RuntimeError("an error of the engine"))

    assert [Task.objects.get(pk=each.task).status for each in (lease, other)] == ["queued", "running"]
    attempt = Attempt.objects.get()
    assert (attempt.task_id, attempt.outcome, attempt.error_type) == (lease.task, "lost", "RuntimeError")
    assert Worker.objects.get(pk=heartbeat.worker).ended_at is None


class Record:
    """Keeps what was written last."""

    def __init__(self) -> None:
        self.last: Any = None
        self.has_company = False

    def write_worker(self, worker: int, thread: int) -> None: ...

    def write_end(self) -> None: ...

    def write(self, task: Any, step: str) -> None:
        self.last = (task, step)

    def write_company(self, *, has_company: bool) -> None:
        self.has_company = has_company


def test_the_crash_record_names_the_step_that_began_last():
    record, (first, second) = Record(), (uuid4(), uuid4())
    company = CompanyRecord(record)
    one, two = ExecutionRecord(company), ExecutionRecord(company)

    one.write(first, "a")
    assert (record.last, record.has_company) == ((first, "a"), False)
    two.write(second, "b")
    one.write(first, "")  # its step has ended
    assert (record.last, record.has_company) == ((second, "b"), True)
    two.write(None, "")
    assert (record.last, record.has_company) == ((first, ""), False)
    one.write(None, "")
    assert (record.last, record.has_company) == ((None, ""), False)


class SubmittingLock:
    """A lock after whose release another thread submits at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.then: Any = None

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()
        then, self.then = self.then, None
        if then is not None:
            then()


@pytest.mark.django_db(transaction=True)
def test_the_plain_calls_of_a_task_never_run_at_once():
    threads, running, most = ConnectedThreads("tests", 3), 0, 0
    lease = Lease(task=uuid4(), worker=1, number=1, pipeline="p", payload="null", labels={}, key="", failures=0)
    author_thread = AuthorThread(Journal(lease), threads, os.getpid())
    lock: Any = SubmittingLock()
    author_thread._lock = lock
    futures: list[Any] = []

    def call() -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return "ok"

    def first() -> str:
        lock.then = lambda: futures.extend(author_thread.submit(call) for _ in range(2))
        return call()

    started = author_thread.submit(first)
    assert started.result(60) == "ok"
    assert eventually(lambda: len(futures) == 2 and [each.result(60) for each in futures]) == ["ok", "ok"]
    assert most == 1
    threads.shutdown()
