"""Async pipelines for worker tests."""

import asyncio
import os
import time
from datetime import timedelta

from django.db import connection

from taskqueue import Retry, current_task, pipeline, step
from taskqueue.models import Worker


@step.atomic
def insert_mark(name: str) -> None:
    """Insert a row into a table of the test."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO tests_mark (name) VALUES (%s)", [name])


@step
async def block_for(seconds: float) -> None:
    time.sleep(seconds)


@pipeline("tests/block-for")
async def block_the_loop_for(seconds: float) -> None:
    """Keep the event loop busy without a timeout."""
    await block_for(seconds)


@step
async def fork_in_the_loop() -> bool:
    """Fork a child that awaits in the event loop, as its parent does."""
    child = os.fork()
    await asyncio.sleep(0)
    return child > 0 and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


@pipeline("tests/fork-async")
async def fork_async() -> bool:
    return await fork_in_the_loop()


@step
async def count_tasks_slowly(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return await Worker.objects.acount()


@pipeline("tests/async-marks")
async def async_marks(name: str) -> int:
    """An async step that reads by the ORM, and two plain ones that write."""
    await insert_mark.aio(f"{name} first")
    number = await count_tasks_slowly(0.05)
    await insert_mark.aio(f"{name} last")
    return number


@step
async def nap_async(seconds: float) -> None:
    await asyncio.sleep(seconds)


@step(timeout=timedelta(seconds=2), retry=Retry.fixed(timedelta(seconds=0.1), retries=2))
async def nap_with_a_timeout() -> None:
    await asyncio.sleep(1.5)


@pipeline("tests/patient")
async def be_patient() -> None:
    await nap_with_a_timeout()


@step
async def wait_until_cancelled() -> None:
    while not current_task().cancelled:
        await asyncio.sleep(0.05)


@pipeline("tests/until-cancelled")
async def run_until_cancelled() -> None:
    await wait_until_cancelled()


@pipeline("tests/two-naps")
async def nap_twice(seconds: float) -> None:
    await nap_async(seconds)
    await nap_async(seconds)


@pipeline("tests/nap-async")
async def nap_async_once(seconds: float) -> None:
    await nap_async(seconds)
