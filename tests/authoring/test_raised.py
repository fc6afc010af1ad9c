"""Any exception of a step or a body, of any class, is its own outcome by its own policy."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import pytest

from taskqueue import Retry, StepFailed, current_task, gather, pipeline, step
from taskqueue.models import Attempt, Step
from tests.support.endings import finish

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = Retry.fixed(timedelta(0), retries=1)


class NotAnException(BaseException):
    """Not caught by `except Exception`."""


class Mute(Exception):
    """An error whose __str__ raises."""

    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__

    def __reduce__(self) -> str:
        raise SystemExit


class Unreadable(Exception):
    """An error whose class has a broken __name__."""

    @property
    def __cause__(self) -> None:  # type: ignore[override]
        raise NotAnException


RAISED: dict[str, Callable[[], BaseException]] = {
    "NotAnException": NotAnException,
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "Mute": Mute,
    "Unreadable": Unreadable,
    "ExceptionGroup": lambda: ExceptionGroup("several", [ValueError("one"), Mute()]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), NotAnException()]),
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
    "TimeoutError": TimeoutError,
}


@pytest.fixture(autouse=True)
def _handler_of_a_worker() -> Iterator[None]:
    """Workers handle Ctrl-C themselves, so that KeyboardInterrupt comes only from author code."""
    former = signal.signal(signal.SIGINT, lambda *_: None)
    yield
    signal.signal(signal.SIGINT, former)


def test_a_plain_step_may_raise_anything(calls):
    @step(retry=AT_ONCE)
    def raising(name: str) -> None:
        calls.append(name)
        raise RAISED[name]()

    @pipeline("raised/plain")
    def body() -> list[list[str]]:
        seen = []
        for name in RAISED:
            try:
                raising(name)
            except StepFailed as error:
                seen.append([name, error.error_type])
        return seen

    task = finish(body.enqueue())

    assert task.result == [[name, name] for name in RAISED]
    assert calls == [name for name in RAISED for _ in range(2)]
    attempts = Attempt.objects.filter(task=task)
    assert {(each.outcome, bool(each.step_key), bool(each.traceback)) for each in attempts} == {("failed", True, True)}


@pytest.mark.usefixtures("lane")
def test_an_async_step_may_raise_anything(calls):
    @step(retry=AT_ONCE)
    async def raising(name: str) -> None:
        calls.append(name)
        raise RAISED[name]()

    @pipeline("raised/async")
    async def body() -> list[list[str]]:
        seen = []
        for name in RAISED:
            try:
                await raising(name)
            except StepFailed as error:
                seen.append([name, error.error_type])
        return seen

    task = finish(body.enqueue())

    assert task.result == [[name, name] for name in RAISED]
    assert calls == [name for name in RAISED for _ in range(2)]


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_body_may_raise_anything(is_async):
    if is_async:

        @pipeline("raised/body", retry=Retry.never())
        async def body(name: str) -> None:
            raise RAISED[name]()
    else:

        @pipeline("raised/body", retry=Retry.never())
        def body(name: str) -> None:
            raise RAISED[name]()

    for name in RAISED:
        task = finish(body.enqueue(name))
        assert (task.status, task.error["type"], task.error["step"]) == ("failed", name, None)


def test_a_parallel_step_may_raise_anything():
    @step(retry=Retry.never())
    def raising(name: str) -> None:
        raise RAISED[name]()

    @pipeline("raised/branches")
    def body() -> list[str]:
        outcomes = gather(*(raising.defer(name) for name in RAISED), errors="collect")
        return [error.error_type for error in outcomes if isinstance(error, StepFailed)]

    assert finish(body.enqueue()).result == list(RAISED)


@pytest.mark.usefixtures("lane")
def test_a_step_that_cancels_its_asyncio_task_is_retried():
    @step(retry=Retry.fixed(timedelta(0), retries=2))
    async def cancelled_once() -> int:
        if current_task().attempt == 1:
            inner = asyncio.ensure_future(asyncio.sleep(10))
            inner.cancel()
            await inner
        if current_task().attempt == 2:
            this = asyncio.current_task()
            assert this is not None
            this.cancel()
            await asyncio.sleep(0)
        return current_task().attempt

    @pipeline("raised/cancelled-once", retry=Retry.never())
    async def body() -> int:
        return await cancelled_once()

    task = finish(body.enqueue())

    assert (task.status, task.result) == ("succeeded", 3)
    assert set(Attempt.objects.values_list("step_key", "error_type")) == {("cancelled-once", "CancelledError")}


@pytest.mark.usefixtures("lane")
def test_a_step_that_the_body_cancels_is_no_failed_attempt(calls):
    @step
    async def slow() -> None:
        calls.append("slow")
        try:
            await asyncio.sleep(60)
        finally:
            calls.append("cancelled")

    @step
    async def quick() -> str:
        return "quick"

    @pipeline("raised/withdrawn", retry=Retry.never())
    async def body() -> str:
        try:
            async with asyncio.timeout(0.05):
                await slow()
        except TimeoutError:
            return await quick()
        return "late"

    task = finish(body.enqueue())

    assert (task.result, calls) == ("quick", ["slow", "cancelled"])
    assert list(Step.objects.filter(task=task).values_list("key", flat=True)) == ["quick"]
    assert not Attempt.objects.exists()


async def be_deaf(calls: list[object]) -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            calls.append("ignored")


async def numbers(calls: list[object]) -> AsyncIterator[int]:
    try:
        yield 0
        yield 1
    finally:
        calls.append("generator closed")
        raise NotAnException


async def exit_early() -> None:
    sys.exit(4)


def test_leftover_asyncio_tasks_end_with_the_body(calls):
    @step
    async def untidy() -> int:
        calls.append(asyncio.ensure_future(be_deaf(calls)))
        calls.append(asyncio.ensure_future(asyncio.sleep(60)))
        return await anext(numbers(calls))

    @pipeline("raised/leftovers", retry=Retry.never())
    async def body() -> int:
        return await untidy()

    @pipeline("raised/leftover-exit", retry=Retry.never())
    async def exiting() -> None:
        calls.append(asyncio.ensure_future(exit_early()))
        await asyncio.sleep(60)

    @pipeline("raised/innocent")
    async def innocent() -> int:
        return 1

    task, exits, other = body.enqueue(), exiting.enqueue(), innocent.enqueue()

    assert finish(task).result == 0
    assert finish(exits).error["type"] in {"SystemExit", "CancelledError"}
    assert finish(other).result == 1
    assert "ignored" in calls
