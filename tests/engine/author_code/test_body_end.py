"""Which bodies return as soon as their call returns."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from functools import wraps
from threading import Thread
from types import FunctionType
from typing import Any

import pytest

from taskqueue.engine.author_code.body_end import ends_with_this_call

found: list[bool] = []

as_the_engine = FunctionType((lambda body: body()).__code__, {"__name__": "taskqueue.engine.execution.run"})


def call(*_values: Any) -> int:
    found.append(ends_with_this_call(sys._getframe(1)))
    return 1


def directly() -> int:
    return call()


def with_unpacked_arguments() -> int:
    return call(*[1, 2])


def in_the_last_line() -> None:
    found.clear()
    call()


def by_a_variable() -> Any:
    value = call()
    return {"value": value, "more": (value, [value])}


def in_a_try() -> int:
    try:
        return call()
    except ValueError:
        return 0


def in_a_branch() -> int:
    if found:
        return 0
    return call()


def in_a_helper() -> int:
    return directly()


def twice() -> int:
    found.append(call() == 1)
    found.clear()
    return call()


@pytest.mark.parametrize(
    "body",
    [
        directly,
        with_unpacked_arguments,
        in_the_last_line,
        by_a_variable,
        in_a_try,
        in_a_branch,
        in_a_helper,
        twice,
    ],
)
def test_a_body_that_only_returns_ends_with_its_call(body):
    found.clear()

    as_the_engine(body)

    assert found == [True]


def in_an_expression() -> int:
    return call() + 1


def in_a_text() -> str:
    return f"{call()}"


def as_an_argument() -> str:
    return str(call())


def with_an_attribute() -> int:
    value = call()
    return value.real


def before_another_line() -> int:
    value = call()
    sorted([])
    return value


def in_a_loop() -> None:
    for _ in range(1):
        call()


def in_an_endless_loop() -> int:
    while True:
        if call():
            return 1


def in_a_generator() -> int:
    return sum(call() for _ in range(1))


def in_a_comprehension() -> list[int]:
    return [call() for _ in range(1)]


def in_a_with() -> int:
    with nullcontext():
        return call()


def before_a_finally() -> int:
    try:
        return call()
    finally:
        sorted([])


def before_the_code_of_a_helper() -> int:
    return before_another_line()


def decorator(function: Any) -> Any:
    @wraps(function)
    def decorated() -> Any:
        value = function()
        sorted([])
        return value

    return decorated


@decorator
def with_a_decorator() -> int:
    return call()


def in_a_coroutine() -> Any:
    async def body() -> int:
        return call()

    return asyncio.run(body())


def in_a_thread() -> None:
    thread = Thread(target=call)
    thread.start()
    thread.join()


def in_an_asserted_condition() -> bool:
    return not call()


@pytest.mark.parametrize(
    "body",
    [
        in_an_expression,
        in_a_text,
        as_an_argument,
        with_an_attribute,
        before_another_line,
        in_a_loop,
        in_an_endless_loop,
        in_a_generator,
        in_a_comprehension,
        in_a_with,
        before_a_finally,
        before_the_code_of_a_helper,
        with_a_decorator,
        in_a_coroutine,
        in_a_thread,
        in_an_asserted_condition,
    ],
)
def test_a_body_with_code_after_its_call_does_not_end_with_it(body):
    found.clear()

    as_the_engine(body)

    assert found == [False]


def test_a_call_outside_of_the_engine_ends_nothing():
    found.clear()

    directly()

    assert found == [False]
