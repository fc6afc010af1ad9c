"""The work that is measured: as little of it as possible, so that the rest is ours."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

from taskqueue import Limit, Rate, Retry, each, pipeline, step


@step(retry=Retry.never())
def nothing(number: int) -> int:
    """Return at once."""
    return number


@step(retry=Retry.never())
def hold(seconds: float) -> int:
    """Hold the worker; the process that did it."""
    time.sleep(seconds)
    return os.getpid()


@pipeline("benchmarks/one-step")
def one_step(number: int) -> int:
    """One step."""
    return nothing(number)


@pipeline("benchmarks/five-steps")
def five_steps(number: int) -> int:
    """Five steps, every output kept."""
    return sum(nothing(number + more) for more in range(5))


@pipeline("benchmarks/hundred-steps")
def hundred_steps(number: int) -> int:
    """A hundred steps."""
    return sum(nothing(number + more) for more in range(100))


@pipeline("benchmarks/first-line")
def first_line() -> int:
    """When its first line ran, in nanoseconds of the machine's monotonic clock, which all processes share."""
    return time.monotonic_ns()


@pipeline("benchmarks/held", retry=Retry.fixed(timedelta(seconds=1), retries=1))
def held(seconds: float) -> int:
    """One step that takes a while."""
    return hold(seconds)


@pipeline("benchmarks/full-keys", concurrency=Limit(1, key="{tenant}"))
def full_keys(tenant: str) -> str:
    """What waits for a place of its key."""
    return tenant


@pipeline("benchmarks/full-limit", concurrency=10)
def full_limit(tenant: str) -> str:
    """What waits for one of ten places."""
    return tenant


@pipeline("benchmarks/paused")
def paused(tenant: str) -> str:
    """What waits for the pipeline to be resumed."""
    return tenant


@pipeline("benchmarks/booked-up", throttle=Rate(1, per=timedelta(hours=1)))
def booked_up(tenant: str) -> str:
    """What waits for its time."""
    return tenant


@step(rate=Rate(20, per=timedelta(seconds=1), name="benchmarks/rated"), retry=Retry.never())
async def rated(number: int) -> int:
    """Four gaps of its rate long."""
    await asyncio.sleep(0.2)
    return number


@step(retry=Retry.never())
async def short(number: int) -> int:
    """As long as `rated`, without a rate."""
    await asyncio.sleep(0.2)
    return number


@pipeline("benchmarks/beside")
async def beside(steps: int, *, is_rated: bool) -> int:
    """Async steps beside each other in the one worker that has the task."""
    return sum(await asyncio.gather(*map(rated if is_rated else short, range(steps))))


@pipeline("benchmarks/by-each")
async def by_each(steps: int, *, is_rated: bool) -> int:
    """As many steps, which `each` lets any worker take."""
    return sum(each(rated if is_rated else short, range(steps)))
