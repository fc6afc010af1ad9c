"""Async steps that are blocked by a rate or a step limit wait in the event loop while another step executes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from taskqueue import Rate, Retry, RetryAfter, StepFailed, pipeline, step
from taskqueue.engine.maintenance.recovery import recover
from taskqueue.engine.runtime.outcomes import Blocked, Release, RetryLater, Succeeded
from taskqueue.models import RateLimitBucket, Step, StepSlot
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.pipelines.basic import calls, note
from tests.support.pipelines.rated import reload, waits_about

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NEARLY_A_SECOND = timedelta(milliseconds=900)
LONG = 60
"""Seconds after which a waiting step gives up, so that the test fails and does not hang."""

worker: list[InProcessWorker] = []
"""The executing worker, for steps that inspect it."""


async def until(condition: Callable[[], Any]) -> None:
    """Return once the condition holds. The worker's main thread evaluates it."""
    async with asyncio.timeout(LONG):
        while not await sync_to_async(condition)():
            await asyncio.sleep(0.005)


def recorded(*, status: str) -> int:
    return Step.objects.filter(status=status).count()


@step(rate=Rate(20, per=timedelta(seconds=1), name="concurrent/often"), retry=Retry.never())
async def often(number: int) -> int:
    note(f"often {number}")
    return number


@step(rate=Rate(1, per=NEARLY_A_SECOND, name="concurrent/secondly"), retry=Retry.never())
async def secondly(number: int) -> int:
    note(f"secondly {number}")
    return number


@step(rate=Rate(1, per=MINUTE, name="concurrent/minutely"), timeout=HOUR, retry=Retry.never())
async def minutely(number: int) -> int:
    note(f"minutely {number}")
    await asyncio.sleep(0.01)
    return number


@step(retry=Retry.never())
async def hold_until_recorded(status: str, count: int) -> None:
    note("hold")
    await until(lambda: recorded(status=status) == count)


@pipeline("concurrent/executing")
async def with_an_executing_step(number: int) -> list[int | None]:
    return (await asyncio.gather(hold_until_recorded("succeeded", number), *map(often, range(number))))[1:]


def test_steps_wait_for_their_times_while_another_step_executes():
    task = with_an_executing_step.enqueue(4)

    assert work() == [Succeeded("[0,1,2,3]")]

    assert reload(task).lease == 1
    assert sorted(calls) == ["hold", "often 0", "often 1", "often 2", "often 3"]
    assert RateLimitBucket.objects.get().admitted == 4


@pipeline("concurrent/grouped")
async def in_a_group(number: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(as_coroutine(minutely(each))) for each in range(number)]
    return [task.result() for task in tasks]


async def as_coroutine(awaitable):
    return await awaitable


def test_a_blocked_step_does_not_cancel_its_task_group():
    task = in_a_group.enqueue(3)
    work()

    assert calls == ["minutely 0"]
    assert recorded(status="succeeded") == 1
    assert waits_about(task) == 60
    for _ in range(2):
        advance(minutes=1)
        work()
    assert reload(task).result == [0, 1, 2]
    assert calls == ["minutely 0", "minutely 1", "minutely 2"]
    assert reload(task).lease == 3


@step(retry=Retry.fixed(HOUR, retries=1))
async def fragile() -> str:
    note("fragile")
    if calls.count("fragile") == 1:
        raise ConnectionError
    return "mended"


@pipeline("concurrent/fails")
async def fails_concurrently(number: int) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        holding = group.create_task(as_coroutine(hold_until_recorded("succeeded", number)))
        failing = group.create_task(as_coroutine(fragile()))
        paced = [group.create_task(as_coroutine(often(each))) for each in range(number)]
    return [holding.result(), failing.result(), *(task.result() for task in paced)]


def test_a_failed_attempt_neither_ends_nor_delays_the_other_steps():
    task = fails_concurrently.enqueue(3)

    (outcome,) = work()

    assert isinstance(outcome, RetryLater)
    assert sorted(calls) == ["fragile", "hold", "often 0", "often 1", "often 2"]
    assert recorded(status="succeeded") == 4
    assert (reload(task).status, reload(task).lease) == ("retrying", 1)
    advance(hours=2)
    work()
    assert reload(task).result == [None, "mended", 0, 1, 2]
    assert len(calls) == 6


@step(retry=Retry.fixed(HOUR, retries=1))
def fragile_and_plain() -> str:
    note("plain")
    if calls.count("plain") == 1:
        raise ConnectionError
    return "mended"


@step(retry=Retry.never())
async def outlast_the_plain_one() -> None:
    note("outlasts")
    await until(lambda: "plain" in calls)
    await asyncio.sleep(0.05)


@pipeline("concurrent/plain")
async def plain_step_fails_concurrently() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(as_coroutine(outlast_the_plain_one()))
        group.create_task(as_coroutine(fragile_and_plain.aio()))


def test_a_failed_attempt_of_a_plain_step_does_not_end_the_others():
    plain_step_fails_concurrently.enqueue()
    work()

    assert sorted(calls) == ["outlasts", "plain"]
    assert Step.objects.get(status="succeeded").name == "outlast-the-plain-one"


@step
async def in_a_place(number: int) -> int:
    slots = await sync_to_async(StepSlot.objects.count)()
    note(f"slots {slots}")
    await asyncio.sleep(0)
    return number


@pipeline("concurrent/slots", step_concurrency=2)
async def in_two_places(number: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(as_coroutine(in_a_place(each))) for each in range(number)]
    return [task.result() for task in tasks]


def test_steps_wait_for_slots_of_the_other_steps():
    task = in_two_places.enqueue(7)

    assert work() == [Succeeded("[0,1,2,3,4,5,6]")]

    assert reload(task).lease == 1
    assert set(calls) <= {"slots 1", "slots 2"}
    assert not StepSlot.objects.exists()


@step(retry=Retry.never())
async def stop_the_worker() -> None:
    await until(lambda: recorded(status="waiting") == 2)
    worker[0].stopping = True
    await asyncio.sleep(1)  # the time of the next one comes


@pipeline("concurrent/stopped")
async def stopped() -> list[int | None]:
    return (await asyncio.gather(stop_the_worker(), *map(secondly, range(3))))[1:]


def test_a_stopping_worker_releases_the_task_with_its_reserved_times():
    task = stopped.enqueue()
    with InProcessWorker() as stops:
        worker[:] = [stops]
        (outcome,) = stops.work()

    assert isinstance(outcome, Release | Blocked)
    assert calls == ["secondly 0"]
    times = list(Step.objects.filter(status="waiting").order_by("until").values_list("until", flat=True))
    assert times[1] - times[0] == NEARLY_A_SECOND
    for _ in range(2):
        advance(seconds=1)
        work()
    assert reload(task).result == [0, 1, 2]
    assert calls == ["secondly 0", "secondly 1", "secondly 2"]
    assert RateLimitBucket.objects.get().admitted == 3


def test_reserved_times_survive_a_worker_lost_while_steps_wait():
    @step(retry=Retry.never())
    async def die() -> None:
        if "die" not in calls:
            await until(lambda: recorded(status="waiting") == recorded(status="succeeded") == 1)
            note("die")
            await sync_to_async(worker[0].die)()
            await sync_to_async(recover)(worker[0].worker, reason="killed")

    @pipeline("concurrent/lost")
    async def body() -> list[Any]:
        return list(await asyncio.gather(die(), *map(minutely, range(2))))

    task = body.enqueue()
    with InProcessWorker() as victim:
        worker[:] = [victim]
        victim.work()
    reserved_at = Step.objects.get(status="waiting").until

    work()

    assert Step.objects.get(status="waiting").until == reserved_at
    assert reload(task).due_at == reserved_at
    assert RateLimitBucket.objects.get().theoretical_arrival_at - reserved_at == MINUTE


def test_a_blocked_steps_timeout_does_not_run():
    inside: list[set[str]] = []

    @step
    async def look() -> None:
        await until(lambda: recorded(status="waiting") == 1)
        inside.append(set(worker[0].activity.steps))

    @pipeline("concurrent/watched")
    async def body() -> None:
        await asyncio.gather(minutely(0), minutely(1), look())

    body.enqueue()
    with InProcessWorker() as watched:
        worker[:] = [watched]
        watched.work()

    assert len(inside) == 1
    assert "minutely#2" not in inside[0]


@step(rate="concurrent/secondly", retry=Retry.fixed(HOUR, retries=1))
async def raise_retry_after() -> None:
    note("retry after")
    raise RetryAfter(HOUR, "429")


@step(retry=Retry.never())
async def hold_until_one_waits_long() -> None:
    await until(lambda: Step.objects.filter(until__gt=Now() + HOUR / 2, status="waiting").exists())


@pipeline("concurrent/retry-after")
async def rate_is_blocked() -> None:
    await asyncio.gather(raise_retry_after(), hold_until_one_waits_long(), secondly(0))


def test_blocking_the_rate_stops_steps_that_wait_for_their_times():
    task = rate_is_blocked.enqueue()
    work()

    assert calls == ["retry after"]
    assert reload(task).status == "retrying"
    assert RateLimitBucket.objects.get().blocked_until is not None


def test_a_body_may_cancel_a_blocked_step():
    @pipeline("concurrent/cancelled")
    async def body() -> str:
        holding = asyncio.ensure_future(as_coroutine(hold_until_recorded("succeeded", 2)))
        first, second = (asyncio.ensure_future(as_coroutine(minutely(each))) for each in range(2))
        await first
        second.cancel()
        await asyncio.wait([second])
        await often(3)
        await holding
        return "cancelled" if second.cancelled() else "ended"

    task = body.enqueue()
    work()

    assert reload(task).result == "cancelled"
    assert calls == ["hold", "minutely 0", "often 3"]


def test_a_failed_step_lets_concurrent_steps_finish():
    @step(retry=Retry.never())
    async def broken() -> None:
        raise ConnectionError

    @pipeline("concurrent/broken")
    async def body() -> list[Any]:
        try:
            await asyncio.gather(broken(), hold_until_recorded("succeeded", 2), *map(often, range(2)))
        except StepFailed:
            return ["caught"]
        return []

    task = body.enqueue()
    work()

    assert (reload(task).result, reload(task).lease) == (["caught"], 1)
    assert recorded(status="succeeded") == 3


@pipeline("concurrent/chain")
async def chain(number: int) -> None:
    for each in range(number):
        await secondly(each)


@pipeline("concurrent/slow-chain")
async def slow_chain(number: int) -> None:
    for each in range(number):
        await minutely(each)


@pytest.mark.parametrize(("body", "notifies"), [(chain, True), (slow_chain, False)], ids=["soon", "later"])
def test_a_task_due_before_the_notifiers_next_poll_notifies(body, notifies):
    body.enqueue(2)
    with InProcessWorker() as worker, CaptureQueriesContext(connection) as queries:
        (outcome,) = worker.work()

    assert isinstance(outcome, Blocked)
    assert any("pg_notify" in query["sql"] for query in queries.captured_queries) == notifies
