"""Any value that a step returns, raises or reports is stored as it is, or fails the step with a precise message."""

from __future__ import annotations

import json
import math
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from taskqueue import Permanent, Retry, RetryAfter, current_task, emit, pipeline, step
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks import control
from taskqueue.json_values.typed import Result
from taskqueue.models import Attempt, Event, Step, Task
from taskqueue.testing import work
from tests.support.properties import quick_settings

pytestmark = [pytest.mark.django_db, pytest.mark.property]

example_settings = quick_settings(60)

values: list[Any] = []
"""What the steps below return, raise or report."""


@step(retry=Retry.never())
def returns() -> Any:
    return values[0]


@pipeline("hostile/returns", retry=Retry.never())
def returning() -> None:
    returns()


@pipeline("hostile/result", retry=Retry.never())
def with_result() -> Any:
    return values[0]


@step(retry=Retry.never())
def raises() -> None:
    raise values[0]


@pipeline("hostile/raises", retry=Retry.never())
def raising() -> None:
    raises()


@pipeline("hostile/body", retry=Retry.never())
def raising_body() -> None:
    raise values[0]


@step(retry=Retry.never())
def takes(value: Any) -> None: ...


@pipeline("hostile/takes", retry=Retry.never())
def giving() -> None:
    takes(values[0])


@step(retry=Retry.never())
def reports_progress() -> None:
    current_task().progress(*values[0])


@pipeline("hostile/reports-progress", retry=Retry.never())
def saying() -> None:
    reports_progress()


@pipeline("hostile/emits", retry=Retry.never())
def emitting() -> None:
    emit(*values[0])


class Odd:
    """An object without a JSON form."""


class Model(BaseModel):
    name: str


any_text = st.text(st.characters(), max_size=30) | st.sampled_from(["\x00", "\ud800", "\\u0000", "a" * 70_000])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)


def cyclic():
    loop: list[Any] = []
    loop.append(loop)
    return loop


def deep(levels):
    value: Any = 0
    for _ in range(levels):
        value = {"in": [value]}
    return value


def ill_made():
    fields: dict[str, Any] = {"name": Odd()}
    return Model.model_construct(**fields)


ODD = [
    lambda: Odd(), lambda: object, lambda: print, lambda: (number for number in range(3)), lambda: b"\xff\x00",
    lambda: bytearray(b"\x00"), lambda: {1, "a"}, lambda: {(1, 2): 3}, lambda: {None: 1}, lambda: {1: 1, "1": 2},
    lambda: 1j, lambda: Decimal("NaN"), lambda: Decimal("1E+400"), lambda: Decimal("0.1"), lambda: math.nan,
    lambda: -math.inf, lambda: 10**5000, lambda: -(10**4000), lambda: cyclic(), lambda: deep(90), lambda: deep(150),
    lambda: deep(5000), lambda: datetime.max.replace(tzinfo=UTC), lambda: datetime.min.replace(tzinfo=UTC),
    lambda: date.max, lambda: timedelta.max, lambda: UUID(int=0), lambda: Model(name="\x00"),
    lambda: ill_made(),
    lambda: [Odd()] * 100, lambda: sys, lambda: NotImplemented, lambda: ..., lambda: ValueError("\x00"),
    lambda: {"a": {"b": [1, Odd()]}}, lambda: memoryview(b"a"), lambda: range(3), lambda: "\ud800\udc00",
    lambda: 5e-324,
]  # fmt: skip


def run(which, *args):
    task = which.enqueue(*args)
    work()
    found = Task.objects.get(pk=task.pk)
    tasks.with_details(task.pk)
    return found


def as_recorded(value):
    """The value with its numbers as floats: PostgreSQL writes 1e300 in digits, which are read as an integer."""
    return json.loads(json.dumps(value), parse_int=as_float)


def as_float(digits):
    """The nearest float to an integer, if there is one."""
    return float(digits) if abs(int(digits)) < 1 << 1023 else int(digits)


def check(make):
    """Check that the step has recorded the value, or has failed with an understandable reason."""
    value = make()
    values[:] = [make()]
    task = run(returning)
    if task.status == "succeeded":
        recorded = Step.objects.get(task=task).output
        # Reading it returns the annotation's own JSON form.
        expected = Result(returns.definition.function).adapter.dump_python(value, mode="json", by_alias=True)
        assert as_recorded(expected) == as_recorded(recorded) or isinstance(value, set | frozenset)
        return
    assert task.status == "failed"
    assert task.error["step"] == "returns"
    attempt = Attempt.objects.get(task=task)
    assert (attempt.step_key, attempt.outcome) == ("returns", "failed")
    assert attempt.error_type in {"NotSerializable", "ValidationError", "PydanticSerializationError", "TooLarge"}
    assert "returns" in attempt.error_message or "output" in attempt.error_message
    assert len(attempt.error_message) < 2_000


def test_any_json_value_that_a_step_returns():
    example_settings(given(json_values)(lambda value: check(lambda: value)))()


@pytest.mark.parametrize("make", ODD)
def test_any_python_value_that_a_step_returns(make):
    check(make)


@pytest.mark.parametrize("make", ODD)
def test_any_python_value_that_a_body_returns(make):
    values[:] = [make()]

    task = run(with_result)

    assert task.status in {"succeeded", "failed"}
    if task.status == "failed":
        assert task.error["type"] in {"NotSerializable", "ValidationError", "PydanticSerializationError"}
        assert task.error["step"] is None or task.error["step"] == ""


@pytest.mark.parametrize("make", ODD)
def test_any_python_value_as_a_steps_argument(make):
    values[:] = [make()]

    task = run(giving)

    assert task.status in {"succeeded", "failed"}
    if task.status == "failed":
        assert task.error["step"] == "takes"
        assert task.error["message"]


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no message")

    __repr__ = __str__


class Leaves(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class NoText(Exception):
    def __str__(self):
        return 5


class Recursive(Exception):
    def __str__(self):
        return str(self)


class OddText(str):
    def replace(self, *_args):
        raise ValueError("not me")


class SaysOddText(Exception):
    def __str__(self):
        return OddText("odd\x00")


class OddlyNamed(Exception):
    pass


OddlyNamed.__qualname__ = "a\x00b"  # Python refuses it as __name__


def chained():
    error = ValueError("first\x00")
    error.__cause__ = error.__context__ = Unspeakable()
    error.add_note("\ud800 note")
    return error


def cycle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


ERRORS = [
    lambda: Unspeakable(), lambda: Leaves(), lambda: NoText(), lambda: Recursive(), lambda: SaysOddText(),
    lambda: ValueError("\x00"), lambda: ValueError("\ud800"), lambda: ValueError("x" * 1_000_000), lambda: ValueError(),
    lambda: ValueError(b"\xff"), lambda: ValueError(cyclic()), lambda: Permanent("\x00\udfff"), lambda: chained(),
    lambda: cycle(), lambda: ExceptionGroup("\x00", [Unspeakable(), ValueError("\x00")]), lambda: SystemExit("\x00"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\x00"), lambda: KeyError("\x00"),
    lambda: OSError(2, "\x00", "\x00"),
    lambda: RetryAfter(timedelta(hours=1), "\x00\ud800"), lambda: type("N" * 5000, (Exception,), {})("long name"),
    lambda: OddlyNamed(),
]  # fmt: skip


@pytest.mark.parametrize("make", ERRORS)
@pytest.mark.parametrize(("which", "where"), [(raising, "raises"), (raising_body, "")])
def test_any_error_fails_what_raised_it(make, which, where):
    values[:] = [make()]

    task = run(which)

    assert task.status == "failed"
    assert (task.error["step"] or "") == where
    attempt = Attempt.objects.get(task=task)
    assert attempt.step_key == where
    assert attempt.error_type
    assert len(attempt.error_message) <= 32_000
    assert len(attempt.traceback) <= 32_000


def test_any_text_as_the_message_of_an_error():
    @example_settings
    @given(any_text)
    def fail(text):
        values[:] = [ValueError(text)]
        assert run(raising).error["message"] == text.replace("\x00", "␀").encode(errors="replace").decode()[:32_000]

    fail()


@pytest.mark.parametrize(
    "progress",
    [
        (0.5, "\x00"), (0.5, "\ud800"), (0.5, "x" * 5000), (math.nan, ""), (math.inf, ""), (-1, ""), (2, ""),
        (10**400, ""), (Decimal("0.5"), ""), (True, ""), (0.5, "𝄞" * 300), ("0.5", ""), (None, ""),
        (0.5, None), (0.5, 5),
    ],
)  # fmt: skip
def test_any_progress_is_stored_or_fails_the_step(progress):
    values[:] = [progress]

    task = run(saying)

    assert task.status in {"succeeded", "failed"}
    if task.status == "failed":
        assert task.error["step"] == "reports_progress"


@pytest.mark.parametrize(
    "sent",
    [
        ("hostile/event", {"a": "\x00"}), ("hostile/event", {"\ud800": 1}), ("hostile/event", {"a": math.nan}),
        ("hostile/event", {"a": Odd()}), ("a\x00b", {}), ("", {}), ("x" * 5000, {}), ("with space", {}),
        ("\ud800", {}), ("hostile/event", {"a": deep(3000)}), ("hostile/event", {1: 2}), ("hostile/event", [1]),
        ("hostile/event", {"a": "x" * 600_000}), ("hostile/event", {"a": 10**5000}), (5, {}),
    ],
)  # fmt: skip
def test_any_event_is_sent_or_fails_the_task(sent):
    values[:] = [sent]

    task = run(emitting)

    assert task.status in {"succeeded", "failed"}
    assert Event.objects.filter(source=task).exists() == (task.status == "succeeded")
    if task.status == "failed":
        assert task.error["message"]


def test_any_reason_for_a_cancel_or_a_pause_is_stored():
    @example_settings
    @given(any_text)
    def say(text):
        task = returning.enqueue()
        assert len(control.cancel(task.pk, reason=text).cancel_reason) <= 300
        control.pause_pipeline("hostile/returns", reason=text, actor=Actor(None, text))
        control.resume_pipeline("hostile/returns")

    say()
