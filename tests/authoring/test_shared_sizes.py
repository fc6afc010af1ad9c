"""Outputs of parallel steps, children and events count towards the size limit of the task's record."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import StepFailed, each, pipeline, sleep, step, wait_for
from taskqueue.engine.events.send import send
from taskqueue.errors import TooLarge
from taskqueue.models import Attempt, Task
from taskqueue.testing import work
from tests.support.endings import finish, outputs_of

pytestmark = pytest.mark.django_db

KILOBYTE = "x" * 998
LIMIT = 3_500


@pytest.fixture(autouse=True)
def _small(settings):
    settings.TASKQUEUE = {"TASK_OUTPUT_MAX_BYTES": LIMIT}


@step
def render(page: int) -> str:
    return KILOBYTE


@step
def count() -> int:
    return 1


def refusal(key: str, *, size: int) -> str:
    what = f"The sum of this task's outputs, with that of step {key!r},"
    return TooLarge(what, size=size, limit=LIMIT, setting="TASK_OUTPUT_MAX_BYTES").detail


def test_only_the_parallel_steps_above_the_size_limit_fail(calls):
    @pipeline("sizes/each")
    def body() -> int:
        outcomes = each(render, range(5), errors="collect")
        calls.append([outcome.message for outcome in outcomes if isinstance(outcome, StepFailed)])
        return count()

    task = finish(body.enqueue())

    assert (task.status, task.result) == ("succeeded", 1)
    assert calls[0] == [refusal("render#4", size=4_000), refusal("render#5", size=4_000)]
    assert sum(output is not None for output in outputs_of(task).values()) == 4


@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 8, 40])
def test_results_that_are_counted_with_their_slot_count_too(settings, limit, size):
    settings.TASKQUEUE = {"TASK_OUTPUT_MAX_BYTES": 640}

    @step
    def write(number: int) -> str | int:
        return "x" * (size - 2) if size > 1 else 1

    @pipeline("sizes/each-limited")
    def body() -> int:
        return sum(
            isinstance(outcome, StepFailed) for outcome in each(write, range(100), limit=limit, errors="collect")
        )

    task = finish(body.enqueue())

    assert task.result == 100 - min(100, 640 // size)
    assert sum(output is not None for output in outputs_of(task).values()) == min(100, 640 // size)


def test_recorded_outputs_count_towards_the_size_limit():
    @pipeline("sizes/before")
    def body() -> None:
        render(1), render(2)
        sleep("first", timedelta(minutes=1))
        each(render, [3])
        each(render, [4])

    task = finish(body.enqueue())

    assert (task.status, task.error["type"], task.error["step"]) == ("failed", "TooLarge", "render#4")
    assert task.error["message"] == refusal("render#4", size=4_004)
    assert not Attempt.objects.exists()


def test_a_childs_result_counts_too():
    @pipeline("sizes/child")
    def child() -> str:
        return KILOBYTE

    @pipeline("sizes/parent")
    def parent() -> str:
        each(render, range(3))
        try:
            return child()
        except StepFailed as failed:
            return f"{failed.error_type}: {failed.message}"

    task = finish(parent.enqueue())

    assert task.result == f"TooLarge: {refusal('sizes/child', size=4_000)}"
    assert Task.objects.get(parent=task).status == "succeeded"


def test_no_wait_begins_above_the_size_limit():
    @pipeline("sizes/events")
    def body() -> None:
        for number in range(10):
            wait_for("sizes/came", timeout=timedelta(hours=1), name=f"wait {number}")

    task = body.enqueue()
    for _ in range(10):
        work()
        send("sizes/came", {"text": KILOBYTE})
    task = finish(task)

    assert (task.status, task.error["type"]) == ("failed", "TooLarge")
    assert "before step 'wait 4'" in task.error["message"]
