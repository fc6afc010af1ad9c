"""Timeouts and size limits of steps."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import timedelta

import pytest

from taskqueue import Retry, StepFailed, pipeline, step
from taskqueue.models import Attempt
from taskqueue.testing import work
from tests.support.endings import finish, reload

pytestmark = pytest.mark.django_db


def test_a_step_that_runs_too_long_gets_an_exception_and_its_outcome_is_timed_out(calls):
    @step(timeout=timedelta(seconds=0.05), retry=Retry.never())
    def slow() -> None:
        try:
            time.sleep(5)
        finally:
            calls.append("tidied up")

    @pipeline("failures/slow")
    def body() -> None:
        slow()

    task = finish(body.enqueue())

    assert calls == ["tidied up"]
    assert task.error["type"] == "StepTimedOut"
    assert task.error["message"] == "Step 'slow' ran longer than its timeout of 0.05 s."
    assert Attempt.objects.get().outcome == "timed_out"


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_an_async_step_that_runs_too_long_gets_an_exception_where_it_awaits(calls):
    @step(timeout=timedelta(seconds=0.05), retry=Retry.never())
    async def slow() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            calls.append("tidied up")

    @pipeline("failures/slow-async")
    async def body() -> str:
        try:
            await slow()
        except StepFailed as error:
            return error.error_type
        return "in time"

    task = finish(body.enqueue())

    assert calls == ["tidied up"]
    assert task.result == "StepTimedOut"
    assert Attempt.objects.get().outcome == "timed_out"


@pytest.mark.usefixtures("lane")
@pytest.mark.django_db(transaction=True)
def test_an_authors_timeout_error_is_an_ordinary_error():
    @step(timeout=timedelta(seconds=20), retry=Retry.never())
    async def impatient() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)

    @pipeline("failures/impatient")
    async def body() -> None:
        await impatient()

    assert finish(body.enqueue()).error["type"] == "TimeoutError"
    assert Attempt.objects.get().outcome == "failed"


def test_a_timeout_leaves_no_alarm_behind(calls):
    @step(timeout=timedelta(minutes=5))
    def timed() -> float:
        return signal.getitimer(signal.ITIMER_REAL)[0]

    @step
    def untimed() -> float:
        return signal.getitimer(signal.ITIMER_REAL)[0]

    @pipeline("failures/alarm")
    def body() -> list[float]:
        return [timed(), untimed()]

    alarm, later = finish(body.enqueue()).result

    assert alarm > 0
    assert later == 0


@pytest.mark.parametrize("what", ["output", "arguments", "result", "sum"])
def test_a_too_large_output_is_not_retried(settings, what):
    settings.TASKQUEUE = {"STEP_OUTPUT_MAX_BYTES": 100, "TASK_OUTPUT_MAX_BYTES": 150}

    @step
    def make(size: int) -> str:
        return "é" * (size // 2)

    @step
    def take(text: str) -> None: ...

    @pipeline("failures/large")
    def body() -> str:
        match what:
            case "output":
                make(100)
            case "arguments":
                take("x" * 100)
            case "sum":
                make(80), make(80)
            case _:
                return "x" * 101
        return ""

    task = body.enqueue()
    work()

    task = reload(task)
    expected = {
        "output": "The output of step 'make' is 102 bytes; the limit is 100 (setting STEP_OUTPUT_MAX_BYTES).",
        "arguments": "The arguments of step 'take' is 111 bytes; the limit is 100 (setting STEP_OUTPUT_MAX_BYTES).",
        "result": "The result is 103 bytes; the limit is 100 (setting STEP_OUTPUT_MAX_BYTES).",
        "sum": (
            "The sum of this task's outputs, with that of step 'make#2', is 164 bytes; "
            "the limit is 150 (setting TASK_OUTPUT_MAX_BYTES)."
        ),
    }
    assert (task.status, task.error["message"]) == ("failed", expected[what])
    assert Attempt.objects.get().error_type == "TooLarge"
