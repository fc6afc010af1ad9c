"""Every argument and every result of a step and of a pipeline keeps its type."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from pydantic import BaseModel

from taskqueue import (
    Arrived,
    Batch,
    BoundPipeline,
    CancelOn,
    Debounce,
    EventOf,
    Limit,
    On,
    Permanent,
    Pipeline,
    Rate,
    Retry,
    RetryAfter,
    Singleton,
    Step,
    StepFailed,
    aemit,
    current_task,
    each,
    emit,
    enqueue_many,
    event_of,
    gather,
    pipeline,
    step,
    wait_any,
    wait_for,
)
from taskqueue.models import Task
from taskqueue.testing import Run, assert_enqueued, fake, run_inline


class Order(BaseModel):
    number: str


class Receipt(BaseModel):
    total: int


@step
def charge(order: Order, amount: int = 1, *, currency: str = "EUR") -> Receipt:
    raise Permanent("card declined")


@step(name="ship-parcel", retry=Retry.fixed(timedelta(minutes=1), retries=3), timeout=timedelta(seconds=30))
def ship(order: Order) -> str:
    raise RetryAfter(timedelta(minutes=1), "busy")


@step.atomic
def record(order: Order) -> int:
    return 1


@step.atomic(name="record-again", retry=Retry.never())
def record_again(order: Order) -> int:
    return record(order)


@step(rate=Rate(10, per=timedelta(seconds=1), burst=2, key="{order.number}", name="shop/api"))
def ask(order: Order) -> int:
    raise RetryAfter(timedelta(minutes=1), "busy", hold=False)


@step(rate="shop/api")
async def ask_again(order: Order) -> int:
    return 1


@pipeline(
    "shop/ask",
    queue="questions",
    step_concurrency=[Limit(10), Limit(2, key="{number}")],
    throttle=Rate(5, per=timedelta(seconds=1)),
)
async def ask_twice(order: Order) -> int:
    assert_type(await ask.aio(order), int)
    return await ask_again(order)


@step
async def notify(order: Order, *, loudly: bool = False) -> bytes:
    return b""


@pipeline("shop/fulfil", retry=Retry.exponential(first=timedelta(seconds=1), retries=3))
def fulfil(order: Order) -> Receipt:
    assert_type(charge(order, 2, currency="USD"), Receipt)
    assert_type(charge.named("second")(order), Receipt)
    assert_type(ship(order), str)
    assert_type(record(order), int)
    assert_type(record_again.named("again")(order=order), int)
    try:
        return charge(order)
    except StepFailed as error:
        assert_type(error.step, str)
        return Receipt(total=0)


@pipeline("shop/notify")
async def notify_all(orders: list[Order], note: str = "") -> bool:
    assert_type(await notify(orders[0], loudly=True), bytes)
    assert_type(await notify.named("second")(orders[0]), bytes)
    assert_type(charge.aio(orders[0], 3), Awaitable[Receipt])
    assert_type(await charge.named("first").aio(orders[0]), Receipt)
    assert_type(current_task().id, UUID)
    assert_type(current_task().attempt, int)
    assert_type(current_task().labels, dict[str, str])
    current_task().progress(0.5, "half")
    return True


@pipeline("shop/ship-all", batch=Batch(10, wait=timedelta(minutes=1), key="{tenant}"))
def ship_all(orders: list[Order]) -> int:
    return len(orders)


@pipeline("shop/index", debounce=Debounce(timedelta(seconds=3), key="{number}", longest=timedelta(minutes=1)))
def index(number: str) -> str:
    return number


@pipeline("shop/report", cron="0 3 * * *", timezone="Europe/Berlin", misfire="all", singleton=Singleton(mode="cancel"))
def report(title: str = "sales") -> str:
    assert_type(current_task().scheduled_for, datetime | None)
    return title


DAY = timedelta(days=1)


@pipeline("shop/decide", on=["shop/asked", On("shop/paid", match={"country": "de"})], cancel_on=CancelOn("shop/gone"))
def decide(order: Order) -> str:
    assert_type(wait_for("shop/approved", timeout=DAY), dict[str, Any] | None)
    assert_type(wait_for("shop/approved", match={"n": 1}, timeout=DAY, name="second"), dict[str, Any] | None)
    assert_type(wait_for("shop/approved", match={"n": 1}, timeout=DAY, model=Receipt), Receipt | None)
    paid = event_of("shop/paid", match={"number": order.number}, model=Receipt)
    assert_type(paid, EventOf[Receipt])
    assert_type(event_of("shop/declined"), EventOf[dict[str, Any]])
    assert_type(wait_any(paid, timeout=DAY), Arrived[Receipt] | None)
    came = wait_any(paid, event_of("shop/declined"), timeout=DAY, name="decision")
    assert_type(came, Arrived[Receipt | dict[str, Any]] | None)
    three = wait_any(paid, event_of("shop/declined"), event_of("shop/moved", model=Order), timeout=DAY)
    assert_type(three, Arrived[Receipt | dict[str, Any] | Order] | None)
    emit("shop/decided", {"number": order.number})
    if came is None:
        return "no approval"
    return str(came.value.total) if isinstance(came.value, Receipt) else came.name


@pipeline("shop/decide-async")
async def decide_async() -> int:
    await aemit("shop/asked", {})
    receipt = wait_for("shop/approved", timeout=DAY, model=Receipt)
    return receipt.total if receipt else 0


assert_type(ship_all.enqueue([Order(number="A1")]), Task)
assert_type(report(), str)
assert_type(fulfil(Order(number="A1")), Receipt)
assert_type(fulfil.enqueue(Order(number="A1")), Task)
assert_type(fulfil.using(run_at=datetime(2030, 1, 1, tzinfo=UTC), force=True).enqueue(order=Order(number="A1")), Task)
assert_type(notify_all.enqueue([], "x"), Task)
assert_type(enqueue_many([fulfil.defer(Order(number="A1")), notify_all.defer([], "x")]), list[Task])
assert_type(fulfil.enqueue(Order(number="A1")).duplicate, bool)
takes_orders: Step[[Order], str] = ship
fulfils_orders: Pipeline[[Order], Receipt] = fulfil
bound: BoundPipeline[[Order], Receipt] = fulfil.using(key="A1", priority=3, labels={"tenant": "a"})
called: Coroutine[Any, Any, bool] = notify_all([], note="x")
enqueued: Coroutine[Any, Any, Task] = notify_all.using().aenqueue([])

assert_type(run_inline(fulfil, Order(number="A1")), Run[Receipt])
assert_type(run_inline(fulfil, order=Order(number="A1")).result, Receipt)
assert_type(run_inline(fulfil.using(key="k"), Order(number="A1"), events=[("paid", {"id": 1})]).result, Receipt)
assert_type(run_inline(notify_all, [], "x").result, bool)
assert_type(run_inline(notify_all.using(key="k"), [], events=[("paid", None)]).result, bool)
assert_type(assert_enqueued(fulfil, matching={"number": "A1"}), list[Task])
with fake(charge, returns=Receipt(total=1)) as charged, fake(notify, returns=b""):
    assert_type(charged.calls, list[dict[str, Any]])
with fake(ship, returns_each=["a", ConnectionError("down")]), fake(notify, raises=TimeoutError):
    pass


@step
async def fetch(number: int) -> str:
    return str(number)


@pipeline("typing/parallel")
def parallel(order: Order) -> None:
    assert_type(gather(charge.defer(order), fetch.defer(1)), tuple[Receipt, str])
    assert_type(gather(fetch.defer(1), errors="collect"), tuple[str | StepFailed])
    assert_type(each(charge, [order]), list[Receipt])
    assert_type(each(fetch, [1], limit=2), list[str])
    assert_type(each(fetch, [1], errors="collect"), list[str | StepFailed])
    assert_type(gather(*[fetch.defer(number) for number in range(3)]), tuple[str, ...])


@fulfil.version("1")
def fulfil_1(order: Order, note: str = "") -> int:
    return record(order)


assert_type(fulfil_1(Order(number="A1"), "x"), int)
