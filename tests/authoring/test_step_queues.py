"""Queues of async steps, of concurrent steps, and of parallel ones."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from taskqueue import Rate, Retry, each, gather, pipeline, step
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.runtime import taken_queues
from taskqueue.engine.runtime.outcomes import Blocked, Move, RetryLater, Succeeded, Waiting
from taskqueue.errors import DefinitionError
from taskqueue.models import Task
from taskqueue.queues import TakenQueues
from taskqueue.testing import InProcessWorker, advance
from tests.support.endings import outputs_of, reload

pytestmark = pytest.mark.django_db


def work_as(queues: str) -> list[object]:
    """Work as a process that takes these queues: its threads and its event loop too."""
    taken_queues.take_queues(TakenQueues.of(queues, ""))
    try:
        with InProcessWorker(queues=queues) as worker:
            return list(worker.work())
    finally:
        taken_queues.take_queues(None)


def kinds(outcomes):
    return [type(outcome) for outcome in outcomes]


@step
def load(number: int) -> int:
    return number


@step(queue="render")
def draw(number: int) -> int:
    return number + 1


@step(queue="render")
async def draw_async(number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


@step
async def publish(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@step(rate=Rate(1, per=timedelta(hours=1), name="test/step-queues"))
async def rated(number: int) -> int:
    await asyncio.sleep(0)
    return number


@pytest.mark.django_db(transaction=True)
def test_an_async_task_moves_to_the_queue_of_a_step_and_back(lane):
    @pipeline("step-queues/async")
    async def body(number: int) -> int:
        return await publish(await draw.aio(await draw_async(await load.aio(number))))

    sync_pipelines()
    task = body.enqueue(1)

    assert work_as("default") == [Move("render")]
    assert work_as("default") == []
    assert work_as("render") == [Move("")]
    assert kinds(work_as("default")) == [Succeeded]
    assert reload(task).result == 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_first", [True, False], ids=["queue first", "queue last"])
def test_concurrent_steps_of_two_queues_all_run(lane, is_first):
    @pipeline("step-queues/concurrent")
    async def body() -> list[int]:
        calls = [draw_async(1), publish(5)]
        return list(await asyncio.gather(*(calls if is_first else reversed(calls))))

    sync_pipelines()
    task = body.enqueue()
    for turn in range(4):
        work_as("render" if turn % 2 else "default")

    assert sorted(reload(task).result) == [2, 10]
    assert reload(task).failures == 0


@pytest.mark.django_db(transaction=True)
def test_a_concurrent_step_that_failed_is_retried_before_the_move(lane):
    fails = [1]

    @step(retry=Retry.fixed(60, retries=1))
    async def fails_once() -> str:
        await asyncio.sleep(0.01)
        if fails:
            fails.pop()
            raise ValueError("once")
        return "done"

    @pipeline("step-queues/failing")
    async def body() -> list[object]:
        return list(await asyncio.gather(fails_once(), draw_async(1)))

    sync_pipelines()
    task = body.enqueue()

    assert kinds(work_as("default")) == [RetryLater]
    assert work_as("render") == []
    advance(minutes=2)
    assert work_as("default") == [Move("render")]
    assert kinds(work_as("render")) == [Succeeded]
    assert reload(task).result == ["done", 2]


@pytest.mark.django_db(transaction=True)
def test_a_concurrent_step_that_a_rate_blocks_is_called_before_the_move(lane):
    @pipeline("step-queues/rated")
    async def body() -> list[int]:
        return list(await asyncio.gather(rated(1), rated(2), draw_async(3)))

    sync_pipelines()
    task = body.enqueue()

    assert kinds(work_as("default")) == [Blocked]
    assert work_as("render") == []
    advance(hours=2)
    assert work_as("default") == [Move("render")]
    assert kinds(work_as("render")) == [Succeeded]
    assert reload(task).result == [1, 2, 4]


def test_parallel_steps_are_enqueued_into_their_queue():
    @pipeline("step-queues/each")
    def body() -> int:
        return sum(each(draw, [1, 2, 3], limit=2)) + load(1)

    sync_pipelines()
    task = body.enqueue()

    assert kinds(work_as("default")) == [Waiting]
    assert set(Task.objects.filter(parent=task).values_list("step_queue", flat=True)) == {"render"}
    assert work_as("default") == []
    assert kinds(work_as("render")) == [Succeeded] * 3
    assert (reload(task).status, reload(task).step_queue) == ("queued", "")
    assert kinds(work_as("default")) == [Succeeded]
    assert reload(task).result == 10


def test_each_call_of_a_gather_has_the_queue_of_its_step():
    @pipeline("step-queues/gather")
    def body() -> int:
        first = draw(0)
        return sum(gather(load.defer(1), draw.defer(first)))

    sync_pipelines()
    task = body.enqueue()

    assert kinds(work_as("default")) == [Move]
    assert kinds(work_as("render")) == [Waiting, Succeeded]
    assert reload(task).step_queue == "render"
    assert kinds(work_as("default")) == [Succeeded]
    assert kinds(work_as("render")) == [Succeeded]
    assert reload(task).result == 3
    assert set(outputs_of(task)) == {"draw", "load", "draw#2"}


@pytest.mark.parametrize("name", ["", "GPU", "two words", "a" * 101, 5])
def test_a_wrong_name_is_refused(name):
    with pytest.raises(DefinitionError, match=r"has queue=.*small letters"):
        step(queue=name)(load.definition.function)
    with pytest.raises(DefinitionError, match="has queue="):
        step.atomic(queue=name)(load.definition.function)


def test_a_step_outside_of_tasks_is_an_ordinary_function():
    assert draw(1) == 2
    assert [draw(1), *each(draw, [2])] == [2, 3]
