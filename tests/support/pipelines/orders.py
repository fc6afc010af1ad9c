"""Pipelines that the API's tests submit."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from taskqueue import CancelOn, Permanent, Retry, Singleton, pipeline, step, wait_for

broken: Counter[str] = Counter()
"""How many more times a step of this name shall fail; emptied before each test."""


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
    """Takes any JSON and gives it back."""
    return value


@pipeline("approvals/wait", cancel_on=CancelOn("order/withdrawn", match={"number": "{number}"}))
def approved(number: str) -> Any:
    """Waits for an approval."""
    return wait_for("order/approved", match={"number": number}, timeout=timedelta(days=1))


@pipeline("one/at-a-time", singleton=Singleton())
def alone() -> None:
    """Has one task under way."""


@pipeline("one/place", concurrency=1)
def gated(number: int) -> Any:
    """Holds its only place while it waits."""
    return wait_for("gated/go", match={"number": number}, timeout=timedelta(days=1))
