"""The keys under which the results of steps are recorded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Permanent, Retry, pipeline, step
from taskqueue.testing import work
from tests.support.endings import finish, outputs_of, reload

pytestmark = pytest.mark.django_db


def test_repeated_calls_of_a_step_are_numbered_per_name(calls):
    @step
    def pick(number: int) -> int:
        calls.append(("pick", number))
        return number

    @step
    def pack(number: int) -> int:
        return number * 10

    @pipeline("keys/repeated")
    def repeated() -> list[int]:
        return [pick(1), pack(1), pick(2), pack(2), pick(3)]

    task = finish(repeated.enqueue())

    assert task.result == [1, 10, 2, 20, 3]
    assert outputs_of(task) == {"pick": 1, "pack": 10, "pick#2": 2, "pack#2": 20, "pick#3": 3}


def test_a_step_without_a_name_is_called_after_its_function():
    @step
    def _charge_Card() -> None:  # noqa: N802 - to see what becomes of it
        return None

    assert _charge_Card.definition.name == "charge-card"


def test_named_calls_are_found_by_their_names_when_their_order_changes(calls):
    order = ["left", "right"]

    @step
    def visit(place: str) -> str:
        calls.append(place)
        return f"seen {place}"

    @step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
    def fall_over() -> None:
        if len(order) and order[0] == "left":
            order.reverse()
            raise ConnectionError

    @pipeline("keys/named")
    def named() -> dict[str, str]:
        seen = {place: visit.named(f"visit {place}")(place) for place in order}
        fall_over()
        return seen

    task = finish(named.enqueue())

    assert calls == ["left", "right"]
    assert task.result == {"left": "seen left", "right": "seen right"}
    assert set(outputs_of(task)) == {"visit left", "visit right", "fall-over"}


@pytest.mark.parametrize("second", ["named", "plain"])
def test_a_key_is_never_given_to_two_calls(calls, second):
    @step
    def charge(amount: int) -> int:
        calls.append(amount)
        return amount

    @pipeline("keys/twice")
    def twice() -> list[int]:
        if second == "named":
            return [charge(1), charge(2), charge.named("charge#2")(3)]
        return [charge.named("charge#2")(1), charge(2), charge(3)]

    task = finish(twice.enqueue())

    assert task.status == "failed"
    assert task.error["type"] == "InvalidContext"
    assert "charge#2" in task.error["message"]


def test_two_calls_under_one_explicit_key_fail_the_task_at_once():
    @step
    def charge(amount: int) -> int:
        return amount

    @pipeline("keys/duplicate")
    def duplicate() -> int:
        return charge.named("first")(1) + charge.named("first")(2)

    task = duplicate.enqueue()
    work()

    assert reload(task).status == "failed"
    assert "Two steps of this task are named 'first'" in reload(task).error["message"]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "nul\x00", "half \ud800"])
def test_an_unstorable_key_is_refused(key):
    @step
    def charge() -> None: ...

    with pytest.raises(ValueError, match="1 to 200 printable characters"):
        charge.named(key)


def test_a_too_long_counted_key_fails_the_task():
    @step
    def tick(number: int) -> int:
        return number

    @pipeline("keys/long")
    def long() -> int:
        return tick.named("x" * 200)(1)

    assert finish(long.enqueue()).result == 1


def test_the_order_of_keys_in_a_result_is_stable(calls):
    """PostgreSQL keeps the keys of an object in an order of its own: the first execution must see that one too."""

    @step
    def prices() -> dict[str, int]:
        return {"zebra": 1, "ant": 2, "bee": 3}

    @step
    def charge(name: str) -> str:
        calls.append(name)
        if len(calls) == 2:
            raise ConnectionError
        return name

    @pipeline("keys/order")
    def in_order() -> list[list[str]]:
        return [[name, charge(name)] for name in prices()]

    task = finish(in_order.enqueue())

    assert all(name == charged for name, charged in task.result)
    assert sorted(set(calls)) == ["ant", "bee", "zebra"]


def test_a_step_called_in_a_step_is_an_ordinary_call():
    @step
    def inner(number: int) -> int:
        return number + 1

    @step
    def outer(number: int) -> int:
        return inner(number) * 10

    @pipeline("keys/nested")
    def nested() -> int:
        return outer(1)

    task = finish(nested.enqueue())

    assert task.result == 20
    assert outputs_of(task) == {"outer": 20}


def test_an_error_in_a_nested_step_belongs_to_the_outer_step(calls):
    @step
    def inner() -> None:
        raise Permanent("inner")

    @step
    def outer() -> str:
        try:
            inner()
        except Permanent:
            return "caught"
        return "not raised"

    @pipeline("keys/nested-error")
    def nested() -> str:
        return outer()

    assert finish(nested.enqueue()).result == "caught"
