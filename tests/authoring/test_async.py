"""Async pipelines: the guarantees of plain pipelines, with steps that may run concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group

from taskqueue import Permanent, Retry, StepFailed, current_task, pipeline, step
from taskqueue.models import Attempt, Task
from taskqueue.testing import work
from taskqueue.testing.workers import InProcessWorker
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
ONCE_MORE = Retry.fixed(MINUTE, retries=1)


@pytest.mark.usefixtures("lane")
def test_an_async_pipeline_awaits_async_steps_and_keeps_their_results(calls):
    @step
    async def double(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0)
        return number * 2

    @pipeline("async/plain")
    async def body(number: int) -> int:
        return await double(await double(number))

    task = finish(body.enqueue(3))

    assert (task.result, calls) == (12, [3, 6])
    assert outputs_of(task) == {"double": 6, "double#2": 12}


@pytest.mark.usefixtures("lane")
def test_gathered_calls_get_keys_in_call_order(calls):
    @step
    async def wait(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        calls.append(turns)
        return turns

    @step
    async def other(turns: int) -> int:
        return await wait.definition.function(turns)

    @pipeline("async/gather")
    async def body() -> list[int]:
        return list(await asyncio.gather(wait(30), other(20), wait(10), wait(1)))

    task = finish(body.enqueue())

    assert calls[0] == 1
    assert calls[-1] == 30
    assert task.result == [30, 20, 10, 1]
    assert outputs_of(task).items() >= {"wait": 30, "wait#2": 10, "wait#3": 1, "other": 20}.items()


@pytest.mark.usefixtures("lane")
def test_a_failed_parallel_step_keeps_its_running_siblings(calls):
    @step(retry=ONCE_MORE)
    async def fragile() -> str:
        calls.append("fragile")
        if calls.count("fragile") == 1:
            raise ConnectionError
        return "mended"

    @step
    async def slow() -> str:
        calls.append("slow")
        await asyncio.sleep(0.05)
        return "done"

    @pipeline("async/siblings")
    async def body() -> list[str]:
        return list(await asyncio.gather(fragile(), slow()))

    task = body.enqueue()
    work()
    assert (reload(task).status, outputs_of(task)["slow"]) == ("retrying", "done")

    assert finish(task).result == ["mended", "done"]
    assert sorted(calls) == ["fragile", "fragile", "slow"]


@pytest.mark.usefixtures("lane")
def test_a_failed_step_is_raised_at_its_await_in_every_run(calls):
    @step(retry=Retry.never())
    async def broken() -> str:
        calls.append("broken")
        raise ConnectionError("no route")

    @step(retry=ONCE_MORE)
    async def fine() -> str:
        calls.append("fine")
        if calls.count("fine") == 1:
            raise ConnectionError
        return "fine"

    @pipeline("async/replayed-failure")
    async def body() -> list[str]:
        results = await asyncio.gather(broken(), return_exceptions=True)
        return [type(results[0]).__name__, await fine()]

    task = finish(body.enqueue())

    assert task.result == ["StepFailed", "fine"]
    assert calls == ["broken", "fine", "fine"]


@pytest.mark.usefixtures("lane")
def test_a_pause_travels_through_a_task_group(calls):
    @step(retry=ONCE_MORE)
    async def fragile() -> str:
        calls.append("fragile")
        if len(calls) == 1:
            raise ConnectionError
        return "mended"

    @pipeline("async/group")
    async def body() -> str:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(as_coroutine(fragile()))
        return running.result()

    assert finish(body.enqueue()).result == "mended"
    assert [attempt.step_key for attempt in Attempt.objects.all()] == ["fragile"]


def test_each_running_steps_timeout_is_enforced():
    watched: list[tuple[str, int | None]] = []
    moments = ["begins"]
    worker = InProcessWorker()
    worker.activity.set_hard_timeout = lambda left: watched.append(
        (moments[-1], None if left is None else round(left / MINUTE))
    )

    async def stay(name: str, is_over: Callable[[], bool]) -> None:
        moments.append(f"{name} is inside")
        while not is_over():
            await asyncio.sleep(0.01)
        moments.append(f"{name} ends")

    @step(timeout=50 * MINUTE)
    async def long() -> None:
        await stay("long", lambda: len(watched) == 3)

    @step(timeout=20 * MINUTE)
    async def short() -> None:
        await stay("short", lambda: "unbounded ends" in moments)

    @step
    async def unbounded() -> None:
        await stay("unbounded", lambda: {"long is inside", "short is inside"} <= set(moments))

    @pipeline("async/watched")
    async def body() -> None:
        await asyncio.gather(long(), short(), unbounded())

    task = body.enqueue()
    worker.work()

    assert reload(task).status == "succeeded"
    assert watched == [("begins", 50), ("begins", 20), ("short ends", 50), ("long ends", None)]


async def as_coroutine(awaitable):
    """A coroutine for create_task."""
    return await awaitable


@pytest.mark.usefixtures("lane")
def test_a_final_failure_in_a_task_group_names_its_step():
    @step
    async def broken() -> None:
        raise Permanent("no route")

    @pipeline("async/group-failure")
    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(as_coroutine(broken()))

    task = finish(body.enqueue())

    assert task.error == {"type": "Permanent", "message": "no route", "step": "broken"}


@pytest.mark.usefixtures("lane")
def test_a_failed_step_in_an_async_body_can_be_caught(calls):
    @step
    async def broken() -> None:
        raise Permanent("no route")

    @pipeline("async/caught")
    async def body() -> str:
        try:
            await broken()
        except StepFailed as error:
            return error.message
        return "not raised"

    assert finish(body.enqueue()).result == "no route"


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("where", ["body", "step"])
def test_a_cancelled_coroutine_fails_its_task_and_not_its_worker(where):
    @step
    async def cancelled() -> None:
        raise asyncio.CancelledError

    @pipeline("async/cancelled", retry=Retry.never())
    async def body() -> None:
        if where == "step":
            await cancelled()
        raise asyncio.CancelledError

    assert finish(body.enqueue()).error["type"] == "CancelledError"


@pytest.mark.usefixtures("lane")
def test_a_plain_step_is_awaited_by_aio_and_may_use_the_orm(calls):
    @step.atomic
    def create(name: str) -> int:
        calls.append(name)
        return Group.objects.create(name=name).pk

    @pipeline("async/aio")
    async def body() -> list[int]:
        first = await create.aio("a")
        return [first, *await asyncio.gather(create.aio("b"), create.named("third").aio("c"))]

    task = finish(body.enqueue())

    assert calls == ["a", "b", "c"]
    assert list(outputs_of(task)) == ["create", "create#2", "third"]
    assert task.result == list(Group.objects.order_by("name").values_list("pk", flat=True))


@pytest.mark.usefixtures("lane")
def test_a_plain_step_that_pauses_under_aio_pauses_the_task(calls):
    @step(retry=ONCE_MORE)
    def fragile() -> str:
        calls.append("fragile")
        if len(calls) == 1:
            raise ConnectionError
        return "mended"

    @pipeline("async/aio-pause")
    async def body() -> list[str]:
        return list(await asyncio.gather(fragile.aio(), fragile.named("second").aio()))

    assert finish(body.enqueue()).result == ["mended", "mended"]
    assert calls == ["fragile"] * 3


@pytest.mark.usefixtures("lane")
def test_a_soft_timeout_also_ends_a_plain_step_under_aio():
    @step(timeout=timedelta(seconds=0.05), retry=Retry.never())
    def slow() -> None:
        while True:
            sum(range(1000))

    @pipeline("async/aio-timeout")
    async def body() -> None:
        await slow.aio()

    assert finish(body.enqueue()).error["type"] == "StepTimedOut"


@pytest.mark.usefixtures("lane")
def test_a_plain_call_of_a_plain_step_in_async_code_is_refused():
    @step
    def plain() -> int:
        return 1

    @pipeline("async/wrong")
    async def body() -> int:
        return plain()

    task = finish(body.enqueue())

    assert task.error["type"] == "InvalidContext"
    assert "await step.aio(…)" in task.error["message"]


def test_an_async_step_in_a_plain_body_is_refused():
    @step
    async def never() -> int:
        return 1

    @pipeline("async/plain-body")
    def body() -> object:
        return never()

    task = finish(body.enqueue())

    assert task.error["type"] == "InvalidContext"
    assert "async def" in task.error["message"]


def test_aio_of_an_async_step_is_refused_with_the_remedy():
    @step
    async def already() -> int:
        return 1

    @pipeline("async/aio-async")
    async def body() -> object:
        return await already.aio()

    assert "await it as it is" in finish(body.enqueue()).error["message"]


@pytest.mark.usefixtures("lane")
def test_each_parallel_step_has_its_own_step_and_attempt(calls):
    @step(retry=ONCE_MORE)
    async def first() -> int:
        await asyncio.sleep(0.02)
        if current_task().attempt == 1:
            raise ConnectionError
        return current_task().attempt

    @step
    async def second() -> int:
        await asyncio.sleep(0.01)
        return current_task().attempt

    @pipeline("async/attempts")
    async def body() -> list[int]:
        return [*await asyncio.gather(first(), second()), current_task().attempt]

    assert finish(body.enqueue()).result == [2, 1, 1]


@pytest.mark.usefixtures("lane")
def test_an_async_step_may_enqueue_but_an_async_body_may_not():
    @pipeline("async/child")
    async def child(number: int) -> int:
        return number

    @step
    async def enqueue() -> str:
        return str((await child.aenqueue(5)).pk)

    @pipeline("async/parent")
    async def body(where: str) -> str:
        return str((await child.aenqueue(5)).pk) if where == "body" else await enqueue()

    task = finish(body.enqueue("step"))
    assert finish(Task.objects.get(pk=task.result)).result == 5

    refused = finish(body.enqueue("body"))
    assert refused.error["type"] == "InvalidContext"


@pytest.mark.usefixtures("lane")
def test_an_async_step_called_in_an_async_step_is_an_ordinary_call():
    @step
    async def inner(number: int) -> int:
        return number + 1

    @step
    async def outer(number: int) -> int:
        return sum(await asyncio.gather(inner(number), inner(number)))

    @pipeline("async/nested")
    async def body() -> int:
        return await outer(1)

    task = finish(body.enqueue())

    assert (task.result, outputs_of(task)) == (4, {"outer": 4})


def test_outside_a_task_async_steps_and_pipelines_are_ordinary_coroutines():
    @step
    async def double(number: int) -> int:
        return number * 2

    @step
    def plain(number: int) -> int:
        return number + 1

    @pipeline("async/outside")
    async def body(number: int) -> int:
        return await double(number) + plain(number) + await plain.aio(number)

    assert asyncio.run(body(3)) == 14
