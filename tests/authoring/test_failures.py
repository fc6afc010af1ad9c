"""Failing steps, and the body around them."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field

from taskqueue import Permanent, Retry, RetryAfter, StepFailed, pipeline, step
from taskqueue.definitions import registry
from taskqueue.models import Attempt, Step
from taskqueue.testing import advance, work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db

ONCE_MORE = Retry.fixed(timedelta(minutes=1), retries=1)


def test_a_failed_step_that_the_body_catches_stays_caught_when_the_body_runs_again(calls):
    @step(retry=Retry.never())
    def charge() -> None:
        calls.append("charge")
        raise ConnectionError("no route")

    @step(retry=ONCE_MORE)
    def refund() -> str:
        calls.append("refund")
        if calls.count("refund") == 1:
            raise ConnectionError
        return "refunded"

    @pipeline("failures/compensate")
    def compensate() -> str:
        try:
            charge()
        except StepFailed as error:
            return f"{refund()} after {error.step}: {error.error_type}: {error.message}"
        return "charged"

    task = finish(compensate.enqueue())

    assert calls == ["charge", "refund", "refund"]
    assert task.result == "refunded after charge: ConnectionError: no route"


@pytest.mark.parametrize("handler", [Exception, BaseException])
def test_a_body_that_catches_everything_does_not_swallow_a_pause(calls, handler):
    @step(retry=ONCE_MORE)
    def charge() -> str:
        calls.append("charge")
        if len(calls) == 1:
            raise ConnectionError
        return "charged"

    @step
    def apologise() -> str:
        calls.append("apologise")
        return "sorry"

    @pipeline("failures/swallow")
    def swallow() -> str:
        try:
            return charge()
        except handler:
            return apologise()

    task = swallow.enqueue()
    work()
    assert reload(task).status == "retrying"

    assert finish(task).result == "charged"
    assert calls == ["charge", "charge"]


def test_an_uncaught_failed_step_fails_the_task_and_names_the_step():
    @step(retry=Retry.never(), name="charge-card")
    def charge() -> None:
        raise ConnectionError("no route")

    @pipeline("failures/uncaught")
    def uncaught() -> None:
        charge()

    task = finish(uncaught.enqueue())

    assert task.status == "failed"
    assert task.error == {"type": "ConnectionError", "message": "no route", "step": "charge-card"}


def test_a_result_of_the_wrong_type_is_a_failed_attempt_of_its_step(calls):
    @step
    def before() -> str:
        calls.append("before")
        return "kept"

    @step(retry=ONCE_MORE)
    def corrupt() -> int:
        calls.append("corrupt")
        return "not a number" if calls.count("corrupt") == 1 else 7  # type: ignore[return-value]

    @pipeline("failures/corrupt")
    def corrupted() -> list[object]:
        return [before(), corrupt()]

    task = finish(corrupted.enqueue())

    assert task.result == ["kept", 7]
    assert calls == ["before", "corrupt", "corrupt"]
    attempt = Attempt.objects.get()
    assert (attempt.step_key, attempt.error_type) == ("corrupt", "InvalidResult")
    assert "valid integer" in attempt.error_message


class Loose(BaseModel):
    """A model whose JSON does not validate against itself."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(serialization_alias="nummer")


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Loose.model_construct(number="x"), id="mutated model"),  # type: ignore[arg-type]
        pytest.param(deep(250), id="nested too deeply to be read"),
        pytest.param(deep(5000), id="nested too deeply to be written"),
        pytest.param(float("nan"), id="nan"),
        pytest.param({"a": "nul \x00"}, id="nul"),
        pytest.param("half \ud800", id="lone surrogate"),
        pytest.param(object(), id="any object"),
        pytest.param({1, 2, object()}, id="a set of objects"),
        pytest.param(b"\xff", id="bytes"),
    ],
)
def test_a_result_that_cannot_be_stored_is_a_failed_attempt(value):
    @step(retry=Retry.never())
    def unkeepable() -> Any:
        return value

    @pipeline("failures/unkeepable")
    def body() -> str:
        try:
            unkeepable()
        except StepFailed as error:
            return error.error_type
        return "kept"

    task = finish(body.enqueue())

    assert task.result in {"NotSerializable", "InvalidResult"}
    assert Step.objects.get(task=task).status == "failed"


class Renamed(BaseModel):
    """A model whose JSON has another field name and an additional field."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(alias="nummer")

    @computed_field  # type: ignore[prop-decorator]  # mypy does not know it, see pydantic's documentation
    @property
    def double(self) -> int:
        return self.number * 2


def test_a_model_that_renames_its_fields_comes_back_from_its_record():
    @step
    def make() -> Renamed:
        return Renamed(nummer=3)

    @pipeline("failures/renamed")
    def body() -> int:
        return make().double

    task = finish(body.enqueue())

    assert task.result == 6
    assert outputs_of(task) == {"make": {"nummer": 3}}


def test_sys_exit_in_a_step_is_a_failed_attempt(calls):
    @step(retry=ONCE_MORE)
    def leave() -> str:
        calls.append("leave")
        if len(calls) == 1:
            sys.exit(3)
        return "stayed"

    @pipeline("failures/exit")
    def body() -> str:
        return leave()

    assert finish(body.enqueue()).result == "stayed"
    assert Attempt.objects.get().error_type == "SystemExit"


class Unprintable(Exception):
    """An error whose __str__ raises."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_whose_own_message_raises_is_still_written_down():
    @step(retry=Retry.never())
    def mumble() -> None:
        raise Unprintable

    @pipeline("failures/unspeakable")
    def body() -> None:
        mumble()

    assert finish(body.enqueue()).error == {
        "type": "Unprintable",
        "message": "(its message could not be read: RuntimeError)",
        "step": "mumble",
    }


def test_unstorable_characters_are_replaced_in_error_messages():
    @step(retry=Retry.never())
    def mumble() -> None:
        raise ValueError("nul \x00 and half \ud800")

    @pipeline("failures/unprintable")
    def body() -> None:
        mumble()

    assert finish(body.enqueue()).error["message"] == "nul \N{SYMBOL FOR NULL} and half ?"


def test_retry_after_sets_the_time_but_not_the_number_of_retries():
    @step(retry=ONCE_MORE)
    def overloaded() -> None:
        raise RetryAfter(timedelta(hours=3), "busy")

    @pipeline("failures/retry-after")
    def body() -> None:
        overloaded()

    task = body.enqueue()
    work()
    wait = reload(task).due_at - Attempt.objects.get().finished_at
    assert abs(wait - timedelta(hours=3)) < timedelta(minutes=1)

    advance(hours=3)
    work()
    assert reload(task).status == "failed"


@pytest.mark.parametrize("error", [Permanent("no"), LookupError("no"), KeyError("no")])
def test_permanent_and_give_up_errors_are_not_retried(error):
    @step(retry=Retry(give_up_on=(LookupError,)))
    def look() -> None:
        raise error

    @pipeline("failures/give-up")
    def body() -> None:
        look()

    task = body.enqueue()
    work()

    assert reload(task).status == "failed"
    assert Attempt.objects.get().error_type == type(error).__name__


def test_an_error_of_the_body_after_a_failed_step_is_the_bodys_own():
    @step(retry=Retry.never())
    def charge() -> None:
        raise ConnectionError

    @pipeline("failures/body", retry=Retry.never())
    def body() -> None:
        try:
            charge()
        except StepFailed as error:
            raise LookupError("no other card") from error

    task = finish(body.enqueue())

    assert task.error == {"type": "LookupError", "message": "no other card", "step": None}


def test_invalid_arguments_are_a_failed_attempt(calls):
    @step(retry=Retry.never())
    def charge(amount: int) -> int:
        calls.append(amount)
        return amount

    @pipeline("failures/arguments")
    def body(amount: str) -> int:
        return charge(amount)  # type: ignore[arg-type]

    task = finish(body.enqueue("many"))

    assert (task.error["type"], calls) == ("ValidationError", [])


def test_an_outdated_payload_is_a_failed_attempt_of_the_body():
    @pipeline("failures/payload", retry=Retry.never())
    def body(amount: int) -> int:
        return amount

    task = body.enqueue(3)
    registry._pipelines.pop("failures/payload")

    @pipeline("failures/payload", retry=Retry.never())
    def body_of_the_next_release(amount: int, currency: str) -> str:
        return f"{amount} {currency}"

    assert finish(task).error["type"] == "ValidationError"


def test_an_outdated_output_is_explained():
    @step
    def count() -> str:
        return "three"

    @step(retry=ONCE_MORE)
    def pause() -> None:
        raise ConnectionError

    @pipeline("failures/changed", retry=Retry.never())
    def body() -> object:
        count()
        pause()
        return None

    task = body.enqueue()
    work()
    registry._pipelines.pop("failures/changed")

    @step(name="count")
    def count_again() -> int:
        return 3

    @pipeline("failures/changed", retry=Retry.never())
    def body_of_the_next_release() -> object:
        return count_again()

    assert finish(task).error["type"] == "OutputChanged"
