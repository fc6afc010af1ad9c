"""Wrong calls are type errors: each marked line is an error, and no other line."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from taskqueue import Rate, RetryAfter, current_task, emit, event_of, pipeline, step, wait_any, wait_for
from taskqueue.testing import fake, run_inline


class Order(BaseModel):
    number: str


@step
def charge(order: Order, amount: int = 1, *, currency: str = "EUR") -> int:
    return amount


@step.atomic
def record(order: Order) -> int:
    return 1


@step
async def notify(order: Order) -> str:
    return ""


@pipeline("shop/fulfil")
def fulfil(order: Order) -> str:
    charge("A1")  # error: [arg-type]
    charge()  # error: [call-arg]
    charge(order, 1, "EUR")  # error: [call-arg]
    charge(order, colour="red")  # error: [call-arg]
    charge.named("second")("A1")  # error: [arg-type]
    charge.named(2)  # error: [arg-type]
    record(order, 1)  # error: [call-arg]
    return charge(order)  # error: [return-value]


@pipeline("shop/notify")
async def notify_all(order: Order) -> str:
    await notify("A1")  # error: [arg-type]
    await charge(order)  # error: [misc]
    await charge.aio("A1")  # error: [arg-type]
    await notify.named("second")()  # error: [call-arg]
    return notify(order)  # error: [return-value]


@pipeline("shop/decide")
def decide() -> str:
    wait_for("shop/approved")  # error: [call-overload]
    wait_for("shop/approved", timeout="30")  # error: [call-overload]
    wait_for("shop/approved", timeout=timedelta(days=1), model="Order")  # error: [call-overload]
    event_of("shop/approved", match=["number"])  # error: [call-overload]
    wait_any("shop/approved", timeout=timedelta(days=1))  # error: [call-overload]
    emit("shop/decided")  # error: [call-arg]
    order = wait_for("shop/approved", timeout=timedelta(days=1), model=Order)
    return order.number  # error: [union-attr]


fulfil.enqueue("A1")  # error: [arg-type]
fulfil.enqueue()  # error: [call-arg]
fulfil.enqueue(Order(number="A1"), priority=3)  # error: [call-arg]
fulfil.using(priority="high")  # error: [arg-type]
fulfil.using(prio=3)  # error: [call-arg]
fulfil.using(key="A1").enqueue(number="A1")  # error: [call-arg]
fulfil.using(run_at=timedelta(hours=1))  # error: [arg-type]
fulfil.using(labels={"tenant": 1})  # error: [dict-item]
total: int = fulfil(Order(number="A1"))  # error: [assignment]
current_task().progress("half")  # error: [arg-type]
current_task().id = None  # error: [assignment, misc]
step(rate=10)  # error: [call-overload]
Rate(10, timedelta(seconds=1))  # error: [call-arg]
Rate(10, per="1")  # error: [arg-type]
RetryAfter("10")  # error: [arg-type]
RetryAfter(timedelta(1), hold="no")  # error: [arg-type]
run_inline(fulfil, "A1")  # error: [call-overload]
run_inline(fulfil)  # error: [call-overload]
run_inline(fulfil, Order(number="A1")).result + 1  # error: [operator]
fake(charge, returns="three")  # error: [arg-type]
fake(notify, returns=3)  # error: [misc]
