"""Pipelines for worker tests. Each step writes to a file that it ran, and in which process."""

import asyncio
import ctypes
import itertools
import logging
import os
import signal
import time
from collections import deque
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.db import connection
from pydantic import BaseModel

from taskqueue import (
    Batch,
    Limit,
    Rate,
    Retry,
    StepTimedOut,
    current_task,
    each,
    emit,
    pipeline,
    sleep,
    step,
    wait_for,
)
from taskqueue import gather as gather_all
from tests.support.processes import async_pipelines  # noqa: F401 - registers them too

WAIT_TIMEOUT = 60.0


class Walk(BaseModel):
    """Where the notes file is, and which step waits until the test releases it."""

    notes: str
    wait_in: int = 0


logger = logging.getLogger(__name__)


@step
def stride(walk: Walk, number: int) -> int:
    """Write that this step began, wait if it is the step that waits, and write that it ended."""
    notes = Path(walk.notes)
    note(notes, f"begin {number} {os.getpid()}")
    if number == walk.wait_in:
        deadline = time.monotonic() + WAIT_TIMEOUT
        while not notes.with_name("released").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    note(notes, f"end {number} {os.getpid()}")
    return number


@pipeline("tests/walk")
def walk_five_steps(walk: Walk) -> int:
    return sum(stride(walk, number) for number in range(1, 6))


@step(queue="render")
def stride_elsewhere(walk: Walk, number: int) -> int:
    return stride.definition.function(walk, number)


@pipeline("tests/two-queues")
def walk_in_two_queues(walk: Walk) -> int:
    return stride(walk, 1) + stride_elsewhere(walk, 2) + stride(walk, 3)


@step.atomic
def lock_and_query(notes: str) -> None:
    """Lock a number, and on the first attempt execute a long query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(5)")
        note(Path(notes), f"begin 1 {os.getpid()}")
        if len(Path(notes).read_text().splitlines()) == 1:
            cursor.execute("SELECT pg_sleep(600)")


@pipeline("tests/long-query")
def execute_a_long_query(notes: str) -> None:
    lock_and_query(notes)


@step
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pipeline("tests/nap")
def take_a_nap(seconds: float) -> float:
    return nap(seconds)


@step(timeout=timedelta(seconds=0.5), retry=Retry.fixed(timedelta(hours=1), retries=2))
def ignore_timeout(how: str) -> str:
    """Ignore the timeout: in Python, or in one C call that holds the GIL."""
    if how == "in C":
        deque(itertools.repeat(None), maxlen=0)
    deadline = time.monotonic() + WAIT_TIMEOUT
    while time.monotonic() < deadline:
        with suppress(StepTimedOut):
            time.sleep(0.05)
    return how


@pipeline("tests/ignore-timeout")
def ignore_timeouts(how: str) -> str:
    """One step that never ends by itself."""
    return ignore_timeout(how)


@step(timeout=timedelta(seconds=0.3), retry=Retry.never())
def work_too_long() -> None:
    """Execute Python code until the timeout, and clean up."""
    try:
        while True:
            time.sleep(0.01)
    finally:
        logger.warning("cleaned up")


@pipeline("tests/too-late")
def be_too_late() -> None:
    work_too_long()


@step
def crash() -> None:
    ctypes.string_at(0)


@pipeline("tests/crash")
def crash_always() -> None:
    crash()


@step(timeout=timedelta(seconds=0.5), retry=Retry.fixed(timedelta(hours=1), retries=2))
async def block_the_loop() -> None:
    """Block the event loop, so that no asyncio timeout works."""
    await asyncio.sleep(0.1)
    time.sleep(WAIT_TIMEOUT)


@step(timeout=timedelta(seconds=0.5))
async def return_at_once() -> None: ...


@pipeline("tests/block-the-loop")
async def block_the_loop_in_parallel() -> None:
    """Two parallel steps, of which one does not end."""
    await asyncio.gather(block_the_loop(), return_at_once())


class NotAnException(BaseException):
    """Not caught by `except Exception`."""


@step(retry=Retry.never())
def break_out() -> None:
    """Raise a BaseException with a text that PostgreSQL cannot store."""
    raise NotAnException("a \0 and a \ud800")


@pipeline("tests/break-out")
def break_out_always() -> None:
    break_out()


@step
def plod(seconds: float) -> bool:
    """Sleep. Returns whether the task was cancelled meanwhile."""
    time.sleep(seconds)
    return current_task().cancelled


@pipeline("tests/plod", cancel_grace=timedelta(seconds=0.5))
def plod_on(seconds: float) -> bool:
    """A step that does not check for cancellation."""
    return plod(seconds)


@pipeline("tests/plod-in-parallel", cancel_grace=timedelta(seconds=0.5))
def plod_in_parallel(seconds: float) -> list[bool]:
    """The step as a parallel step."""
    return each(plod, [seconds])


@step
def square(number: int) -> int:
    return number * number


@pipeline("tests/four-at-a-time")
def squares_four_at_a_time(numbers: int) -> int:
    """The sum of squares, each a parallel step, of which four run at a time."""
    return sum(each(square, range(numbers), limit=4))


@pipeline("tests/gather", batch=Batch(7, wait=timedelta(milliseconds=100)))
def gather(numbers: list[int]) -> list[int]:
    return numbers


@pipeline("tests/leap-day", cron="0 0 29 2 *", misfire="all")
def greet(name: str = "all") -> str:
    """Scheduled on leap days, so that it does not disturb other tests."""
    return name


def note(notes: Path, line: str) -> None:
    """Append a line in one write, since several processes write."""
    with notes.open("a") as file:
        file.write(f"{line}\n")


def add(left: int, right: int) -> int:
    """An ordinary function for an ordinary django-q2 message."""
    return left + right


def wait_for_release(notes: str) -> str:
    """An ordinary function that waits until the test releases it."""
    note(Path(notes), f"message {os.getpid()}")
    while not Path(notes).with_name("released").exists():
        time.sleep(0.02)
    return "done"


@step(rate=Rate(10, per=timedelta(seconds=1), name="tests-api"))
def call_rated(number: int) -> int:
    return number


@step(rate="tests-api")
def call_also_rated(number: int) -> int:
    """A step of another pipeline with the shared rate."""
    return number


@pipeline("tests/rated")
def ask(number: int) -> int:
    return call_rated(number)


@pipeline("tests/also-rated")
def ask_too(number: int) -> int:
    """One step with the shared rate."""
    return call_also_rated(number)


@pipeline("tests/throttled", throttle=Rate(10, per=timedelta(seconds=1)))
def begin_evenly(number: int) -> int:
    """Ten starts a second."""
    return number


@step
def nap_two_at_a_time(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pipeline("tests/two-at-a-time", step_concurrency=2)
def nap_twice_two_at_a_time(seconds: float) -> float:
    """Two naps, of which two run at a time over all tasks."""
    return nap_two_at_a_time(seconds) + nap_two_at_a_time(seconds)


@pipeline("tests/tiny", concurrency=2)
def tiny(number: int) -> int:
    """A task without steps, of which two run at a time."""
    return number


@pipeline("tests/three-at-a-time", concurrency=3)
def nap_three_at_a_time(seconds: float) -> float:
    """A nap in at most three tasks at a time."""
    return nap(seconds)


@pipeline("tests/one-of-each", concurrency=Limit(1, key="{tenant}"))
def nap_for(tenant: str, seconds: float) -> float:
    """A nap in one task per tenant at a time."""
    return nap(seconds)


@step.atomic
def mark(name: str) -> str:
    """Insert a row into a table of the test."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO tests_mark (name) VALUES (%s)", [name])
    return name


@step.atomic
def mark_slowly(walk: Walk) -> int:
    """Insert a row, and wait for the release with the transaction open."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO tests_mark (name) VALUES ('slowly')")
    return stride.definition.function(walk, 1)


@pipeline("tests/mark-slowly")
def mark_slowly_and_continue(walk: Walk) -> int:
    """One slow atomic step, and another step."""
    return mark_slowly(walk) + stride(walk, 2)


@step(retry=Retry.fixed(timedelta(milliseconds=5), retries=1))
def fail_once(name: str) -> str:
    if current_task().attempt == 1:
        raise ConnectionError(name)
    return name


@pipeline("tests/child")
def grow(name: str) -> str:
    return mark(f"{name} child")


@pipeline("tests/life")
def live(walk: Walk, name: str) -> str:
    """All features, in little time."""
    stride(walk, 1)
    mark(name)
    fail_once(name)
    sleep("rest", timedelta(milliseconds=5))
    gather_all(mark.defer(f"{name} left"), mark.defer(f"{name} right"))
    grow(name)
    emit("tests/grown", {"name": name})
    wait_for("tests/grown", match={"name": name}, timeout=timedelta(minutes=1))
    stride(walk, 2)
    return name


@pipeline("tests/long-wait")
def wait_long(name: str) -> bool:
    """Wait for an event that does not come, with a child that waits too."""
    if name.endswith(" child"):
        return wait_for("tests/never", match={"name": name}, timeout=timedelta(hours=1)) is None
    return wait_long(f"{name} child")


@pipeline("tests/marks")
def mark_twice(name: str) -> str:
    return mark(f"{name} a") + mark(f"{name} b")


@step
def die(how: str) -> str:
    """End the process abruptly."""
    match how:
        case "exit":
            os._exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "out of memory":
            os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does then
    return how


@pipeline("tests/poison")
def be_poison(how: str) -> str:
    """A step that no worker survives."""
    return die(how)
