"""An unstorable value fails at once; one of the wrong type is retried; numbers are seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskqueue import Batch, Debounce, Rate, Retry, RetryAfter, current_task, pipeline, sleep, step
from taskqueue.errors import DefinitionError, NotSerializable
from taskqueue.models import Attempt, Task
from tests.support.endings import finish

pytestmark = pytest.mark.django_db

VALUES = {
    "a function": lambda: None,
    "a model": Task(),
    "NUL": "a \0",
    "not a number": float("nan"),
    "keys that fall together": {1: "int", "1": "str"},
    "keys that fall together deep inside": [{"a": ({True: 1, "true": 2},)}],
}


@pytest.mark.parametrize("value", VALUES)
def test_an_unstorable_result_does_not_repeat_the_step(value, calls):
    @step
    def charge() -> Any:
        calls.append("charged")
        return VALUES[value]

    @pipeline("values/charge")
    def body() -> None:
        charge()

    task = finish(body.enqueue())

    assert (task.status, task.error["type"], task.error["step"], calls) == (
        "failed",
        "NotSerializable",
        "charge",
        ["charged"],
    )
    assert "did its work, and only its result was refused" in task.error["message"]


@pytest.mark.parametrize("value", [{1: "a", 2: "b"}, {True: 1, "1": 2}, {"a": {"b": 1}}, [1, "1"]])
def test_distinct_keys_are_kept(value):
    @step
    def give() -> Any:
        return value

    @pipeline("values/keys")
    def body() -> int:
        return len(give())

    assert finish(body.enqueue()).result == len(value)


def test_a_payload_with_colliding_keys_is_refused():
    @pipeline("values/payload")
    def body(given: Any) -> None: ...

    with pytest.raises(NotSerializable, match="two keys of a dict are both written as '1'"):
        body.enqueue({1: "int", "1": "str"})


def test_a_result_of_the_wrong_type_is_retried_with_a_warning(calls):
    @step(retry=Retry.fixed(0, retries=1))
    def count() -> int:
        calls.append("counted")
        return "many"  # type: ignore[return-value]

    @pipeline("values/misfit")
    def body() -> None:
        count()

    task = finish(body.enqueue())

    assert (task.error["type"], calls) == ("InvalidResult", ["counted"] * 2)
    assert "did its work, and only its result was refused. It does not fit" in task.error["message"]


class Liar:
    def __float__(self) -> float:
        raise SystemError

    def __str__(self) -> str:
        raise SystemError


@pytest.mark.parametrize("fraction", [0.5, 1.5, -1, float("nan"), float("inf"), "half", None, Liar()])
def test_progress_never_fails_the_work(fraction):
    @step(retry=Retry.never())
    def report() -> str:
        current_task().progress(fraction, note=fraction)
        return "done"

    @pipeline("values/progress")
    def body() -> str:
        return report()

    assert finish(body.enqueue()).result == "done"
    assert not Attempt.objects.exists()


def test_numbers_are_seconds_wherever_a_duration_is_taken(calls):
    assert Rate(1, per=60) == Rate(1, per=timedelta(minutes=1))
    assert Debounce(0.5, longest=2) == Debounce(timedelta(seconds=0.5), longest=timedelta(seconds=2))
    assert Batch(2, wait=1) == Batch(2, wait=timedelta(seconds=1))
    assert Retry.fixed(0.1, retries=2) == Retry.fixed(timedelta(seconds=0.1), retries=2)
    assert Retry.exponential(first=1, retries=3, longest=60).waits == tuple(
        timedelta(seconds=each) for each in (1, 2, 4)
    )
    assert RetryAfter(10).delay == timedelta(seconds=10)

    @step(timeout=30)
    def timed() -> None: ...

    @pipeline("values/seconds", start_within=60, finish_within=2_592_000, cancel_grace=0.5, keep=86_400)
    def body() -> str:
        sleep("x", 5)
        timed()
        return "slept"

    assert timed.definition.timeout == timedelta(seconds=30)
    policies = body.definition.policies
    assert (policies.start_within, policies.cancel_grace) == (timedelta(minutes=1), timedelta(seconds=0.5))
    assert policies.keep == timedelta(days=1)
    assert finish(body.enqueue()).result == "slept"


@pytest.mark.parametrize("wrong", [True, float("nan"), float("inf"), "5", -1, 1e300])
def test_an_invalid_duration_is_refused_at_definition(wrong):
    for make in (
        lambda: Rate(1, per=wrong),
        lambda: Debounce(wrong),
        lambda: Batch(2, wait=wrong),
        lambda: Retry.fixed(wrong, retries=1),
        lambda: RetryAfter(wrong),
    ):
        with pytest.raises(ValueError, match=r"timedelta|too long|negative|from 1 millisecond|between 0 and"):
            make()

    def function() -> None: ...

    with pytest.raises(DefinitionError, match="timeout"):
        step(timeout=wrong)(function)
    with pytest.raises(DefinitionError, match="finish_within"):
        pipeline("values/wrong", finish_within=wrong)(function)
