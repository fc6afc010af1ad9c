"""The measured work: as little as possible, so that the rest is the cost of taskqueue."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

from taskqueue import Limit, Rate, Retry, each, pipeline, step


@step(retry=Retry.never())
def nothing(number: int) -> int:
    return number


@step(retry=Retry.never())
def sleep(seconds: float) -> int:
    """Occupy the worker. Returns the process id."""
    time.sleep(seconds)
    return os.getpid()


@pipeline("benchmarks/one-step")
def one_step(number: int) -> int:
    return nothing(number)


@pipeline("benchmarks/idempotent", idempotent=True)
def idempotent(number: int) -> int:
    return nothing(number)


@pipeline("benchmarks/five-steps")
def five_steps(number: int) -> int:
    """Five steps, every output recorded, the last one with the end of the task, as in the sketch."""
    for more in range(4):
        nothing(number + more)
    return nothing(number + 4)


@pipeline("benchmarks/hundred-steps")
def hundred_steps(number: int) -> int:
    for more in range(99):
        nothing(number + more)
    return nothing(number + 99)


@pipeline("benchmarks/first-line")
def first_line(number: int) -> int:  # noqa: ARG001 - all measured pipelines take a number
    """The time of its first line, in nanoseconds of the monotonic clock, which all processes of the machine share."""
    return time.monotonic_ns()


@pipeline("benchmarks/sleeping", retry=Retry.fixed(timedelta(seconds=1), retries=1))
def sleeping(seconds: float) -> int:
    """One step that takes a while."""
    return sleep(seconds)


@step(retry=Retry.never())
async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pipeline("benchmarks/waiting")
async def waiting(seconds: float) -> None:
    """One async step that takes a while."""
    await wait(seconds)


@pipeline("benchmarks/full-keys", concurrency=Limit(1, key="{tenant}"))
def full_keys(tenant: str) -> str:
    return tenant


@pipeline("benchmarks/by-ten", concurrency=10)
def by_ten(number: int) -> int:
    return nothing(number)


@pipeline("benchmarks/by-key", concurrency=Limit(1, key="{number}"))
def by_key(number: int) -> int:
    return nothing(number)


@pipeline("benchmarks/by-rate", throttle=Rate(100_000, per=timedelta(seconds=1)))
def by_rate(number: int) -> int:
    """Under a throttle that never makes it wait."""
    return nothing(number)


@pipeline("benchmarks/full-limit", concurrency=10)
def full_limit(tenant: str) -> str:
    return tenant


@pipeline("benchmarks/paused")
def paused(tenant: str) -> str:
    return tenant


@pipeline("benchmarks/throttled", throttle=Rate(1, per=timedelta(hours=1)))
def throttled(tenant: str) -> str:
    return tenant


@step(rate=Rate(20, per=timedelta(seconds=1), name="benchmarks/rated"), retry=Retry.never())
async def rated(number: int) -> int:
    """Four times as long as the interval of its rate."""
    await asyncio.sleep(0.2)
    return number


@step(retry=Retry.never())
async def short(number: int) -> int:
    """As long as `rated`, without a rate."""
    await asyncio.sleep(0.2)
    return number


@pipeline("benchmarks/by-gather")
async def by_gather(steps: int, *, is_rated: bool) -> int:
    """Parallel async steps in the one worker that has the task."""
    return sum(await asyncio.gather(*map(rated if is_rated else short, range(steps))))


@pipeline("benchmarks/by-each")
async def by_each(steps: int, *, is_rated: bool) -> int:
    """As many steps, which `each` lets any worker execute."""
    return sum(each(rated if is_rated else short, range(steps)))


@pipeline("benchmarks/limited-each")
def limited_each(steps: int) -> int:
    """Parallel steps that any worker executes, at most eight at a time."""
    return sum(each(nothing, range(steps), limit=8))
