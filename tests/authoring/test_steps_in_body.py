"""The steps of a pipeline before its first run: those that its body names, in source order."""

from __future__ import annotations

import pytest

from taskqueue import pipeline, step
from tests.support.pipelines import shop_steps as shop
from tests.support.pipelines.shop_steps import ship

pytestmark = pytest.mark.smoke  # its ground is Python's own byte code


@step
def pick() -> int:
    return 1


@step
def pack() -> int:
    return 1


@step
def refund() -> int:
    return 1


@step
async def notify() -> int:
    return 1


def helper() -> int:
    return pack()


def known(function) -> list[str]:
    return [step.name for step in function.definition.steps_in_body()]


def test_steps_are_found_once_in_source_order():
    @pipeline("known/order")
    def body() -> int:
        if pick():
            return ship()
        return pack() + pick()

    assert known(body) == ["pick", "ship", "pack"]


def test_steps_in_handlers_loops_and_nested_functions_are_found():
    @pipeline("known/nested")
    def body() -> int:
        def inner() -> int:
            return pick()

        try:
            numbers = [pack() for _ in range(2)]
        except ValueError:
            return refund()
        later = lambda: ship()  # noqa: E731
        return inner() + later() + sum(numbers)

    assert known(body) == ["pick", "pack", "refund", "ship"]


def test_steps_named_as_module_attributes_are_found():
    @pipeline("known/module")
    def body() -> int:
        return shop.weigh() + shop.ship.named("second")()

    assert known(body) == ["weigh", "ship"]


def test_named_and_awaited_steps_are_found():
    @pipeline("known/async")
    async def body() -> int:
        return pick.named("first")() + await pack.aio() + await notify()

    assert known(body) == ["pick", "pack", "notify"]


def test_steps_in_closures_are_found_when_assigned_later():
    @pipeline("known/closure")
    def body() -> int:
        return local()

    @step
    def local() -> int:
        return 1

    assert known(body) == ["local"]


def test_an_unassigned_closure_variable_is_no_step():
    @pipeline("known/empty")
    def body() -> int:
        return pick() + gone()  # noqa: F821 - which is the point

    def gone() -> int:
        return 1

    del gone

    assert known(body) == ["pick"]


def test_steps_that_helper_functions_call_are_not_found():
    @pipeline("known/hidden")
    def body() -> int:
        return helper()

    assert known(body) == []


def test_the_order_of_steps_does_not_depend_on_the_python_version():
    @pipeline("known/places")
    def body() -> int:
        chosen = [ship() for _ in range(pick())]
        return pack() if refund() else len(chosen)

    assert known(body) == ["ship", "pick", "pack", "refund"]
