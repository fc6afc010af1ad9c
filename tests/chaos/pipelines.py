"""The tasks that run while workers die and the database restarts."""

from __future__ import annotations

import asyncio
import random
import time
from uuid import uuid4

from django.db import connection

from taskqueue import current_task, pipeline, step


@step
def draw(number: int) -> str:
    """A different value at each call, so that a second recorded output would be noticed.

    Some calls take longer than a short task, so that more threads of a process work.
    """
    if number == 2:
        time.sleep(random.choice((0.0, 0.0, 0.0, 0.05)))  # noqa: S311
    return f"{number} {uuid4()}"


@step
async def draw_async(number: int) -> str:
    """As `draw`, on an event loop that many tasks share."""
    await asyncio.sleep(random.choice((0.0, 0.05)))  # noqa: S311
    return f"{number} {uuid4()}"


@step.atomic
def insert_row(number: int) -> int:
    """Insert a row. Only the atomic step prevents a second one."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO chaos_effect (task, number) VALUES (%s, %s)", [current_task().id, number])
    return number


@pipeline("chaos/five-steps")
def five_steps(number: int) -> list[str]:
    """Three plain steps and two atomic steps."""
    first = draw(1)
    insert_row(1)
    second = draw(2)
    insert_row(2)
    return [first, second, draw(3)]


@pipeline("chaos/five-async-steps")
async def five_async_steps(number: int) -> list[str]:
    """Three async steps, of which two run concurrently, and two atomic steps in threads."""
    first = await draw_async(1)
    await insert_row.aio(1)
    both = await asyncio.gather(draw_async(2), draw_async(3))
    await insert_row.aio(2)
    return [first, *both]
