"""Pipelines for the tests of the API."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from taskqueue import CancelOn, Permanent, Retry, Singleton, pipeline, step, wait_for

broken: Counter[str] = Counter()
"""How often the step of each name still fails; reset after each test."""


class Address(BaseModel):
    street: str


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: str = Field(min_length=1, max_length=50, examples=["A1"])
    quantity: int = Field(default=1, ge=1)
    address: Address | None = None


def fail_if_broken(name: str) -> None:
    if broken[name]:
        broken[name] -= 1
        raise Permanent(f"{name} is broken")


@step
def charge(number: str) -> str:
    fail_if_broken("charge")
    return f"charged {number}"


@step(retry=Retry.never())
def ship(number: str) -> str:
    fail_if_broken("ship")
    return f"shipped {number}"


@pipeline("shop/order")
def order(request: Order) -> dict[str, str]:
    """Charge, then ship."""
    return {"charge": charge(request.number), "ship": ship(request.number)}


@pipeline("anything")
def anything(value: Any) -> Any:
    """Returns its argument, any JSON."""
    return value


@pipeline("approvals/wait", cancel_on=CancelOn("order/withdrawn", match={"number": "{number}"}))
def approved(number: str) -> Any:
    """Waits for an approval."""
    return wait_for("order/approved", match={"number": number}, timeout=timedelta(days=1))


@pipeline("one/at-a-time", singleton=Singleton())
def singleton() -> None:
    """A singleton."""


@pipeline("one/slot", concurrency=1)
def limited(number: int) -> Any:
    """Has a concurrency limit of 1 and waits in its slot."""
    return wait_for("gated/go", match={"number": number}, timeout=timedelta(days=1))
