"""Tasks that share an event loop: what one of them does or meets costs the others nothing."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction

from taskqueue import Retry, pipeline, step
from taskqueue.engine.async_worker import loop
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.worker.first_claim import first_claim
from taskqueue.models import Attempt, Worker
from taskqueue.testing import work
from taskqueue.testing.workers import InProcessWorker
from tests.support.endings import reload
from tests.support.event_loops import work_on_event_loop
from tests.support.registries import own_registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _event_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(InProcessWorker, "work", work_on_event_loop(InProcessWorker.work))
    with own_registry():
        yield


@step(retry=Retry.never())
async def wait(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def test_tasks_wait_at_once_and_more_than_the_slots_follow():
    at_once: list[int] = []
    now = 0

    @pipeline("loop/many")
    async def many() -> None:
        nonlocal now
        now += 1
        at_once.append(now)
        await wait(0.1)
        now -= 1

    tasks = [many.enqueue() for _ in range(25)]
    work()

    assert {reload(task).status for task in tasks} == {"succeeded"}
    assert max(at_once) == 10, "the slots of the test's worker"


def test_without_async_pipelines_the_event_loop_claims_nothing(monkeypatch):
    claims: list[tuple[Any, ...]] = []

    def note(*args: Any, **_options: Any) -> list[Lease]:
        claims.append(args)
        return []

    monkeypatch.setattr(loop, "first_claim", note)

    with own_registry(empty=True):
        pipeline("loop/plain")(lambda: 1).enqueue()
        work()
        assert claims == []

        @pipeline("loop/async")
        async def body() -> None: ...

        work()
        assert len(claims) == 1


def test_the_event_loop_leaves_due_work_to_the_main_thread(monkeypatch):
    main, original, others = threading.get_ident(), dispatch.run_due, []

    def run_due(*args: Any, **options: Any) -> dispatch.DueWork:
        if threading.get_ident() != main:
            others.append(threading.current_thread().name)
        return original(*args, **options)

    monkeypatch.setattr(dispatch, "run_due", run_due)

    @pipeline("loop/one")
    async def body() -> float:
        return await wait(0.01)

    task = body.enqueue()
    work()

    assert reload(task).status == "succeeded"
    assert others == []


def test_a_claim_whose_answer_is_lost_leaves_no_task_behind(monkeypatch):
    lost: list[Lease] = []

    def lose_one(*args: Any, **options: Any) -> list[Lease]:
        leases = first_claim(*args, **options)
        if leases and not lost:
            lost.extend(leases)
            raise OperationalError("the connection is lost")
        return leases

    monkeypatch.setattr(loop, "first_claim", lose_one)

    @pipeline("loop/lost-claim")
    async def body() -> float:
        return await wait(0.01)

    tasks = [body.enqueue() for _ in range(3)]
    work()

    assert len(lost) == 3
    assert {reload(task).status for task in tasks} == {"succeeded"}
    assert not Attempt.objects.exists(), "they were not begun"


def test_an_error_of_the_engine_releases_one_task_and_not_its_worker(monkeypatch):
    broken: list[str] = []

    def checkpoint(self: Journal, **values: Any) -> str | None:
        if self.lease.payload == '{"seconds": 0.02}' and not broken:
            broken.append(values["key"])
            raise self.lose(OperationalError("the connection is lost"), step=values["key"])
        return original(self, **values)

    original = Journal.checkpoint
    monkeypatch.setattr(Journal, "checkpoint", checkpoint)

    @pipeline("loop/lost-statement")
    async def body(seconds: float) -> float:
        return await wait(seconds)

    tasks = [body.enqueue(seconds) for seconds in (0.01, 0.02, 0.3)]
    work()
    work()

    assert broken == ["wait"]
    assert {reload(task).status for task in tasks} == {"succeeded"}
    attempt = Attempt.objects.get()
    assert (attempt.task_id, attempt.outcome, attempt.step_key) == (tasks[1].pk, "lost", "wait")
    assert attempt.error_type == "OperationalError"
    assert not Worker.objects.exclude(end_reason="stopped").exists()


def test_a_stray_exit_ends_neither_the_loop_nor_its_task():
    async def leave() -> None:
        sys.exit(4)

    @pipeline("loop/stray-exit")
    async def body() -> float:
        stray = asyncio.ensure_future(leave())
        await asyncio.sleep(0.05)
        assert isinstance(stray.exception(), SystemExit)
        return await wait(0.01)

    @pipeline("loop/other")
    async def other() -> float:
        return await wait(0.2)

    tasks = body.enqueue(), other.enqueue()
    work()

    assert [reload(task).status for task in tasks] == ["succeeded", "succeeded"]


def test_a_transaction_that_plain_code_leaves_open_fails_its_own_task_only():
    def begin() -> None:
        transaction.atomic().__enter__()
        Group.objects.create(name="never committed")

    @step(retry=Retry.never())
    async def leave_open() -> None:
        await sync_to_async(begin)()

    @pipeline("loop/open-transaction", retry=Retry.never())
    async def body() -> None:
        await leave_open()

    @pipeline("loop/orm", retry=Retry.never())
    async def innocent(name: str) -> int:
        for _ in range(20):
            await Group.objects.acreate(name=f"{name} {_}")
        return await Group.objects.filter(name__startswith=name).acount()

    guilty, others = body.enqueue(), [innocent.enqueue(f"group {number}") for number in range(5)]
    work()

    assert "began a database transaction and did not end it" in reload(guilty).error["message"]
    assert {reload(task).result for task in others} == {20}
    assert not Group.objects.filter(name="never committed").exists()


def test_settings_of_a_connection_end_with_the_call_that_set_them():
    def set_path() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET search_path TO pg_catalog")

    def read_path() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW search_path")
            return str(cursor.fetchone()[0])

    @pipeline("loop/settings")
    async def body() -> list[str]:
        await sync_to_async(set_path)()
        return [await sync_to_async(read_path)() for _ in range(4)]

    task = body.enqueue()
    work()

    assert "pg_catalog" not in reload(task).result


def test_a_plain_step_that_is_cancelled_ends_before_its_task_goes_on():
    running, most, order = 0, 0, []

    @step(retry=Retry.never())
    def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.3)
        running -= 1
        order.append("slow")

    @pipeline("loop/cancelled-plain-step", retry=Retry.fixed(timedelta(seconds=0), retries=1))
    async def body() -> None:
        try:
            async with asyncio.timeout(0.05):
                await slow.aio()
        finally:
            order.append("body")

    task = body.enqueue()
    work()
    work()

    assert most == 1
    assert order[:2] == ["slow", "body"]
    assert reload(task).status == "succeeded", "the step was recorded, and replayed"


def test_a_plain_call_that_is_cancelled_ends_before_its_task_does():
    order: list[str] = []

    def slow() -> None:
        time.sleep(0.3)
        order.append("slow")

    @pipeline("loop/cancelled-plain-call")
    async def body() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await sync_to_async(slow)()

    task = body.enqueue()
    work()

    assert order == ["slow"]
    assert reload(task).status == "succeeded"


def test_a_task_cannot_cancel_those_of_other_tasks():
    @pipeline("loop/cancels-all", retry=Retry.never())
    async def cancel_all() -> None:
        await asyncio.sleep(0.1)
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()

    @pipeline("loop/gathers", retry=Retry.never())
    async def innocent() -> tuple[float, float]:
        return await asyncio.gather(wait(0.3), wait(0.2))

    tasks = cancel_all.enqueue(), innocent.enqueue()
    work()

    assert [reload(task).status for task in tasks] == ["succeeded", "succeeded"]


def test_plain_code_with_an_event_loop_of_its_own_is_told_why_it_cannot_call_plain_code():
    async def inner() -> int:
        return await Group.objects.acount()

    @step(retry=Retry.never())
    def nested() -> int:
        return asyncio.run(inner())

    @pipeline("loop/nested", retry=Retry.never())
    async def body() -> int:
        return await nested.aio()

    task = body.enqueue()
    work()

    assert "has started an event loop of its own" in reload(task).error["message"]


def test_a_thread_of_to_thread_leaves_no_transaction_to_the_next_call():
    def begin() -> None:
        transaction.atomic().__enter__()

    def is_open() -> bool:
        return connection.in_atomic_block

    @pipeline("loop/to-thread")
    async def body() -> list[bool]:
        await asyncio.gather(*(asyncio.to_thread(begin) for _ in range(5)))
        return await asyncio.gather(*(asyncio.to_thread(is_open) for _ in range(40)))

    task = body.enqueue()
    work()

    assert set(reload(task).result) == {False}


def test_slots_that_become_free_at_once_are_all_filled_again():
    @pipeline("loop/at-once")
    async def body() -> None:
        await asyncio.sleep(0.05)

    tasks = [body.enqueue() for _ in range(45)]
    work()

    assert {reload(task).status for task in tasks} == {"succeeded"}
