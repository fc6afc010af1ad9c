"""Pipelines for worker tests: each step notes in a file that it was run, and by which process."""

import asyncio
import ctypes
import itertools
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

PATIENCE = 60.0


class Walk(BaseModel):
    """Where to take notes, and in which step to wait until a file called `gate` lies beside them."""

    notes: str
    wait_in: int = 0


@step
def stride(walk: Walk, number: int) -> int:
    """Note that this step began, wait if it is the one to wait in, note that it ended."""
    notes = Path(walk.notes)
    note(notes, f"begin {number} {os.getpid()}")
    if number == walk.wait_in:
        deadline = time.monotonic() + PATIENCE
        while not notes.with_name("gate").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    note(notes, f"end {number} {os.getpid()}")
    return number


@pipeline("tests/walk")
def walk_five_steps(walk: Walk) -> int:
    """Five steps."""
    return sum(stride(walk, number) for number in range(1, 6))


@step
def nap(seconds: float) -> float:
    """Take a while, at no cost to the machine."""
    time.sleep(seconds)
    return seconds


@pipeline("tests/nap")
def take_a_nap(seconds: float) -> float:
    """One step that takes a while."""
    return nap(seconds)


@step(timeout=timedelta(seconds=0.5), retry=Retry.fixed(timedelta(hours=1), retries=2))
def deaf(how: str) -> str:
    """Go on for long whatever anybody says: in Python, or in one call into C that lets no other thread run."""
    if how == "in C":
        deque(itertools.repeat(None), maxlen=0)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(StepTimedOut):
            time.sleep(0.05)
    return how


@pipeline("tests/deaf")
def do_not_listen(how: str) -> str:
    """One step that never ends by itself."""
    return deaf(how)


@step(timeout=timedelta(seconds=0.5), retry=Retry.fixed(timedelta(hours=1), retries=2))
async def hold_the_loop() -> None:
    """Wait without awaiting, so that no timeout of the event loop can reach it."""
    await asyncio.sleep(0.1)
    time.sleep(PATIENCE)


@step(timeout=timedelta(seconds=0.5))
async def pass_by() -> None:
    """Be done at once."""


@pipeline("tests/deaf-beside")
async def hold_the_loop_beside_another() -> None:
    """Two steps at once, of which one does not end."""
    await asyncio.gather(hold_the_loop(), pass_by())


class Unheard(BaseException):
    """Passes every `except Exception`."""


@step(retry=Retry.never())
def break_out() -> None:
    """Raise it with a text that PostgreSQL cannot keep."""
    raise Unheard("a \0 and a \ud800")


@pipeline("tests/break-out")
def break_out_always() -> None:
    """A step that raises it."""
    break_out()


@step
def plod(seconds: float) -> bool:
    """Take a while; whether the task was cancelled by then."""
    time.sleep(seconds)
    return current_task().cancelled


@pipeline("tests/plod", cancel_grace=timedelta(seconds=0.5))
def plod_on(seconds: float) -> bool:
    """A step that does not ask."""
    return plod(seconds)


@pipeline("tests/plod-beside", cancel_grace=timedelta(seconds=0.5))
def plod_beside(seconds: float) -> list[bool]:
    """The same in a branch."""
    return each(plod, [seconds])


@pipeline("tests/gather", batch=Batch(7, wait=timedelta(milliseconds=100)))
def gather(numbers: list[int]) -> list[int]:
    """Gather for a moment."""
    return numbers


@pipeline("tests/leap-day", cron="0 0 29 2 *", misfire="all")
def greet(name: str = "all") -> str:
    """On a leap day, so that it does not disturb the other tests."""
    return name


def note(notes: Path, line: str) -> None:
    """Append a line, whole, though several processes write."""
    with notes.open("a") as file:
        file.write(f"{line}\n")


def add(left: int, right: int) -> int:
    """An ordinary function for an ordinary django-q2 message."""
    return left + right


def wait_at_gate(notes: str) -> str:
    """An ordinary function that takes its time: until the gate is open."""
    note(Path(notes), f"message {os.getpid()}")
    while not Path(notes).with_name("gate").exists():
        time.sleep(0.02)
    return "done"


@step(rate=Rate(10, per=timedelta(seconds=1), name="tests-api"))
def call_rated(number: int) -> int:
    """Next to nothing, ten times a second."""
    return number


@step(rate="tests-api")
def call_also_rated(number: int) -> int:
    """The same, of another pipeline."""
    return number


@pipeline("tests/rated")
def ask(number: int) -> int:
    """One rated step."""
    return call_rated(number)


@pipeline("tests/also-rated")
def ask_too(number: int) -> int:
    """One step with the same rate."""
    return call_also_rated(number)


@pipeline("tests/throttled", throttle=Rate(10, per=timedelta(seconds=1)))
def begin_evenly(number: int) -> int:
    """Nothing, ten times a second."""
    return number


@step
def nap_in_turn(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds


@pipeline("tests/in-turn", step_concurrency=2)
def nap_twice_in_turn(seconds: float) -> float:
    """Two steps that take a while, of which two at a time."""
    return nap_in_turn(seconds) + nap_in_turn(seconds)


@pipeline("tests/three-places", concurrency=3)
def nap_in_three_places(seconds: float) -> float:
    """A step that takes a while, of at most three tasks."""
    return nap(seconds)


@pipeline("tests/one-of-each", concurrency=Limit(1, key="{tenant}"))
def nap_for(tenant: str, seconds: float) -> float:
    """A step that takes a while, of one task of each tenant."""
    return nap(seconds)


@step.atomic
def mark(name: str) -> str:
    """Leave a row in a table of the test's own."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO tests_mark (name) VALUES (%s)", [name])
    return name


@step.atomic
def mark_slowly(walk: Walk) -> int:
    """Leave a row, and wait at the gate with the transaction open."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO tests_mark (name) VALUES ('slowly')")
    return stride.definition.function(walk, 1)


@pipeline("tests/mark-slowly")
def mark_slowly_and_go_on(walk: Walk) -> int:
    """One slow atomic step, and another step."""
    return mark_slowly(walk) + stride(walk, 2)


@step(retry=Retry.fixed(timedelta(milliseconds=5), retries=1))
def stumble(name: str) -> str:
    """Fail the first time."""
    if current_task().attempt == 1:
        raise ConnectionError(name)
    return name


@pipeline("tests/child")
def grow(name: str) -> str:
    """A child of one step."""
    return mark(f"{name} child")


@pipeline("tests/life")
def live(walk: Walk, name: str) -> str:
    """Everything that a task can do, in little time."""
    stride(walk, 1)
    mark(name)
    stumble(name)
    sleep("rest", timedelta(milliseconds=5))
    gather_all(mark.defer(f"{name} left"), mark.defer(f"{name} right"))
    grow(name)
    emit("tests/grown", {"name": name})
    wait_for("tests/grown", match={"name": name}, timeout=timedelta(minutes=1))
    stride(walk, 2)
    return name


@pipeline("tests/long-wait")
def wait_long(name: str) -> bool:
    """Wait for what does not come, with a child that waits too."""
    if name.endswith(" child"):
        return wait_for("tests/never", match={"name": name}, timeout=timedelta(hours=1)) is None
    return wait_long(f"{name} child")


@pipeline("tests/marks")
def mark_twice(name: str) -> str:
    """Two rows, in atomic steps."""
    return mark(f"{name} a") + mark(f"{name} b")


@step
def die(how: str) -> str:
    """End the process, without a word to anybody."""
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
