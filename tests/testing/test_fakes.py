"""fake: a replacement of a step's function, which leaves the rest of the step unchanged."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pydantic import BaseModel

from taskqueue import Retry, pipeline, step
from taskqueue.definitions import active_fakes
from taskqueue.testing import fake, run_inline

pytestmark = pytest.mark.django_db


class Receipt(BaseModel):
    total: int


@step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
def charge(amount: int, *, currency: str = "EUR") -> Receipt:
    raise AssertionError("The real function was called.")


@step
async def notify(receipt: Receipt) -> str:
    raise AssertionError("The real function was called.")


@pipeline("fakes/sale")
def sale(amount: int) -> int:
    return charge(amount).total + charge.named("second")(amount, currency="USD").total


@pipeline("fakes/async")
async def async_sale(amount: int) -> str:
    return await notify(await charge.aio(amount))


def test_a_fake_replaces_all_calls_and_records_their_arguments():
    with fake(charge, returns=Receipt(total=2)) as charged:
        assert run_inline(sale, 1).result == 4
        assert charge(7) == Receipt(total=2)

    assert charged.calls == [
        {"amount": 1, "currency": "EUR"}, {"amount": 1, "currency": "USD"}, {"amount": 7, "currency": "EUR"},
    ]  # fmt: skip


def test_async_steps_are_awaited():
    async def answer(receipt: Receipt) -> str:
        return f"sent {receipt.total}"

    with fake(charge, returns=Receipt(total=3)), fake(notify, calls=answer) as notified:
        assert run_inline(async_sale, 1).result == "sent 3"
        assert asyncio.run(notify(Receipt(total=4))) == "sent 4"
    with fake(charge, returns=Receipt(total=3)), fake(notify, returns="sent"):
        assert run_inline(async_sale, 1).result == "sent"

    assert [call["receipt"].total for call in notified.calls] == [3, 4]


def test_a_fake_function_gets_the_arguments_and_its_result_is_checked():
    def twice(amount: int, *, currency: str = "EUR") -> Receipt:
        return Receipt(total=amount * (2 if currency == "EUR" else 3))

    def nothing(*_args, **_kwargs):
        return "no receipt"

    with fake(charge, calls=twice):
        assert run_inline(sale, 5).result == 25
    with fake(charge, calls=nothing):
        run = run_inline(sale, 5)

    assert run.error is not None
    assert (run.error.type, run.error.step, len(run.attempts)) == ("InvalidResult", "charge", 2)


def test_returns_each_returns_or_raises_in_order():
    answers = [ConnectionError("down"), Receipt(total=1), Receipt(total=10)]

    with fake(charge, returns_each=answers) as charged:
        run = run_inline(sale, 5)

    assert (run.result, len(charged.calls), run.attempts[0].error_message) == (11, 3, "down")


def test_one_call_too_many_fails_for_good():
    with fake(charge, returns_each=[Receipt(total=1)]):
        run = run_inline(sale, 5)

    assert str(run.error) == (
        "Permanent: The fake of step 'charge' was called more than 1 times, and has no more values."
    )
    assert len(run.attempts) == 1


def test_a_class_of_exceptions_can_be_raised():
    with fake(charge, raises=TimeoutError):
        assert getattr(run_inline(sale, 5).error, "type", "") == "TimeoutError"


@pytest.mark.parametrize("answer", [{"returns": "no receipt"}, {"returns_each": [Receipt(total=1), "no receipt"]}])
def test_a_value_that_does_not_fit_is_refused_at_once(answer):
    with pytest.raises(TypeError, match=r"^The fake of step 'charge' cannot return 'no receipt': "):
        fake(charge, **answer)


def test_a_fake_raises_only_exceptions():
    with pytest.raises(TypeError, match="cannot raise 'down': it is not an exception"):
        fake(charge, raises="down")  # type: ignore[call-overload]  # that is the point


@pytest.mark.parametrize(
    ("answer", "found"), [({}, "nothing"), ({"returns": None, "raises": OSError}, "returns and raises")]
)
def test_it_needs_one_kind_of_answer(answer, found):
    with pytest.raises(TypeError, match=f"needs one of returns, returns_each, raises or calls; it has {found}"):
        fake(charge, **answer)


@fake(charge, returns=Receipt(total=1))
def test_it_decorates_a_test():
    assert charge(5).total == 1


def test_nested_fakes_end_in_order():
    with fake(charge, returns=Receipt(total=1)):
        with fake(charge, returns=Receipt(total=2)):
            assert charge(5).total == 2
        assert charge(5).total == 1

    assert active_fakes == {}
    with pytest.raises(AssertionError, match="The real function"):
        charge(5)


def test_a_call_that_does_not_match_the_steps_signature_fails():
    with fake(charge, returns=Receipt(total=1)), pytest.raises(TypeError, match="missing a required argument"):
        charge()  # type: ignore[call-arg]  # that is the point
