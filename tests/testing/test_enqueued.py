"""assert_enqueued: it finds enqueued tasks, and lists the tasks that were enqueued instead."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from taskqueue import pipeline, step
from taskqueue.errors import InvalidPayload, UnknownPipeline
from taskqueue.testing import assert_enqueued, assert_not_enqueued, work

pytestmark = pytest.mark.django_db


class Order(BaseModel):
    number: str
    lines: list[int] = []


@pipeline("enqueued/order")
def order(order: Order) -> None:
    return None


@pipeline("enqueued/mail")
def mail(address: str, copies: int = 1) -> None:
    return None


@step
def send_later(address: str) -> None:
    mail.enqueue(address)


@pipeline("enqueued/outer")
def outer(address: str) -> None:
    send_later(address)


def test_it_finds_tasks_by_payload_model_key_and_labels_and_returns_them():
    made = order.using(key="k-1", labels={"tenant": "a", "team": "b"}).enqueue(Order(number="A1", lines=[1, 2]))
    mail.enqueue("ada")

    assert assert_enqueued(order) == [made]
    assert_enqueued(order, payload=Order(number="A1", lines=[1, 2]))
    assert_enqueued(order, payload={"number": "A1", "lines": [1, 2]})
    assert_enqueued(order, matching={"number": "A1", "lines.1": 2})
    assert_enqueued("enqueued/order", key="k-1", labels={"tenant": "a"})
    assert_enqueued(mail, payload={"address": "ada"})
    assert_not_enqueued(order, key="k-2")
    assert_not_enqueued(outer)


def test_tasks_made_by_steps_count_also_when_they_have_ended():
    outer.enqueue("ada")
    work()

    assert_enqueued(mail, matching={"address": "ada"})


def test_a_failure_says_that_nothing_was_enqueued():
    with pytest.raises(AssertionError) as missing:
        assert_enqueued(order, payload=Order(number="A1"), key="k", labels={"tenant": "a"})

    assert str(missing.value) == (
        'enqueued/order with payload {"lines": [], "number": "A1"}, key \'k\', label tenant = \'a\' '
        "was enqueued 0 times, not once.\nNothing else was enqueued."
    )


def test_a_failure_lists_the_other_tasks():
    mail.using(key="m").enqueue("ada")
    order.using(labels={"tenant": "a"}).enqueue(Order(number="B2"))

    with pytest.raises(AssertionError) as missing:
        assert_enqueued(order, matching={"number": "A1"}, times=2)

    assert str(missing.value) == (
        'enqueued/order with number = "A1" was enqueued 0 times, not 2 times.\n'
        "Enqueued instead:\n"
        '  enqueued/order {"lines": [], "number": "B2"} labels {"tenant": "a"}\n'
        '  enqueued/mail {"address": "ada", "copies": 1} key \'m\'\n'
    )


def test_a_failure_lists_surplus_tasks():
    for number in range(2):
        mail.enqueue("ada", number)

    with pytest.raises(AssertionError) as found:
        assert_enqueued(mail)
    with pytest.raises(AssertionError, match="enqueued/mail was enqueued 2 times, not never"):
        assert_not_enqueued(mail)

    assert str(found.value) == (
        "enqueued/mail was enqueued 2 times, not once.\n"
        "Matching:\n"
        '  enqueued/mail {"address": "ada", "copies": 0}\n'
        '  enqueued/mail {"address": "ada", "copies": 1}\n'
        "Nothing else was enqueued."
    )
    assert len(assert_enqueued(mail, times=2)) == 2


def test_at_most_twenty_tasks_are_listed():
    for number in range(25):
        mail.enqueue("ada", number)

    with pytest.raises(AssertionError, match="  and 5 more\n"):
        assert_enqueued(order)


def test_an_impossible_payload_is_refused():
    with pytest.raises(InvalidPayload):
        assert_enqueued(order, payload={"numero": "A1"})
    with pytest.raises(UnknownPipeline):
        assert_enqueued("enqueued/nowhere")
