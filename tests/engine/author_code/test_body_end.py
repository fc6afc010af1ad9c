"""Which bodies return as soon as their call returns."""

from __future__ import annotations

import asyncio
import functools
import sys
from contextlib import nullcontext
from functools import wraps
from threading import Thread
from types import FunctionType
from typing import Any

import pytest

from taskqueue.engine.author_code.body_end import ends_with_this_call

found: list[bool] = []

this_module = sys.modules[__name__]

as_the_engine = FunctionType((lambda body: body()).__code__, {"__name__": "taskqueue.engine.execution.run"})


def call(*_values: Any) -> int:
    found.append(ends_with_this_call(sys._getframe()))
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


class CallableObject:
    def __call__(self, *_values: Any, **_named: Any) -> int:
        found.append(ends_with_this_call(sys._getframe()))
        return 1


callable_object = CallableObject()


def with_named_arguments() -> int:
    return callable_object(1, *[2], a=3, **dict.fromkeys("b"))


def with_one_named_argument() -> int:
    return callable_object(1, a=3)


def by_a_local_variable() -> int:
    function = callable_object
    return function(1)


def of_a_module() -> int:
    return this_module.call(1)


def in_several_lines() -> int:
    return call(
        1,
        [2],
    )


def pass_through(function: Any) -> Any:
    @wraps(function)
    def decorated() -> Any:
        return function()

    return decorated


@pass_through
def with_a_decorator_that_returns() -> int:
    return call()


@pytest.mark.parametrize(
    "body",
    [
        directly,
        with_named_arguments,
        with_one_named_argument,
        by_a_local_variable,
        of_a_module,
        in_several_lines,
        with_a_decorator_that_returns,
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


def by_a_map_that_goes_on() -> list[str]:
    return list(map(str, map(call, [1])))


def by_a_map() -> list[int]:
    calls = map(call, [1])
    return list(calls)


def by_reduce() -> int:
    return functools.reduce(lambda _a, b: b, map(call, [1]))


def by_a_sort() -> list[int]:
    return sorted([1], key=call)


def by_a_sort_of_a_helper() -> list[int]:
    return sorted([1], key=lambda _value: call())


def by_a_renamed_builtin() -> list[int]:
    call = sorted
    return call([1], key=(call := callable_object))  # type: ignore[assignment]


def of_a_call() -> int:
    return functools.partial(call)()


def of_an_attribute() -> Any:
    return callable_object.__call__()


class Exit:
    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None:
        call()


def at_the_end_of_a_with() -> None:
    with Exit():
        pass


@pytest.mark.parametrize(
    "body",
    [
        by_a_map_that_goes_on,
        by_a_map,
        by_reduce,
        by_a_sort,
        by_a_sort_of_a_helper,
        by_a_renamed_builtin,
        of_a_call,
        of_an_attribute,
        at_the_end_of_a_with,
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
