"""Pipelines that make one task of several requests."""

from __future__ import annotations

from datetime import timedelta

from taskqueue import Batch, CancelOn, Debounce, Limit, Retry, Singleton, pipeline, step, wait_for

MINUTE = timedelta(minutes=1)


@step(retry=Retry.fixed(MINUTE, retries=1))
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pipeline("starts/only", singleton=Singleton(key="{tenant}"))
def only(tenant: str, number: int = 0) -> int:
    return total([number])


@pipeline("starts/newest", singleton=Singleton(key="{tenant}", mode="cancel"), cancel_grace=MINUTE)
def newest(tenant: str, number: int = 0) -> int:
    return total([number])


@pipeline("starts/quiet", debounce=Debounce(MINUTE, key="{tenant}", longest=timedelta(minutes=3)))
def quiet(tenant: str, number: int = 0) -> int:
    return total([number])


@pipeline(
    "starts/quiet-order",
    debounce=Debounce(MINUTE, key="{user}"),
    cancel_on=[
        CancelOn("starts/order-cancelled", match={"order": "{order}"}),
        CancelOn("starts/shop-closed", match={"shop": "{shop}"}),
    ],
)
def quiet_order(user: str, order: int) -> int:
    return total([order])


@pipeline("starts/gather", batch=Batch(3, wait=MINUTE))
def gather(numbers: list[int]) -> int:
    return total(numbers)


@pipeline("starts/gather-by-tenant", batch=Batch(3, wait=MINUTE, key="{tenant}"), concurrency=Limit(1, key="{tenant}"))
def gather_by_tenant(orders: list[dict[str, str]]) -> list[str]:
    return [order["number"] for order in orders]


@pipeline("starts/child")
def listen(tenant: str) -> object:
    return wait_for("starts/word", match={"tenant": tenant}, timeout=timedelta(hours=1))


@pipeline("starts/newest-family", singleton=Singleton(key="{tenant}", mode="cancel"))
def newest_family(tenant: str) -> object:
    return listen(tenant)
