"""A mix of all features for the soak test."""

from __future__ import annotations

from datetime import timedelta

from taskqueue import (
    Debounce,
    Limit,
    Rate,
    Retry,
    current_task,
    each,
    emit,
    pipeline,
    sleep,
    step,
    wait_for,
)


@step
def echo(number: int) -> int:
    """Return at once."""
    return number


@pipeline("soak/short", throttle=Rate(500, per=timedelta(seconds=1)))
def short(number: int) -> int:
    return echo(number)


@pipeline("soak/wait-until-cancelled")
def wait_until_cancelled(number: int) -> None:
    """Wait until it is cancelled."""
    wait_for("soak/never", match={"number": number}, timeout=timedelta(days=1))


@step(retry=Retry.fixed(timedelta(milliseconds=50), retries=1))
def fail_once(number: int) -> int:
    if current_task().attempt == 1:
        raise ConnectionError
    return number


@step(rate=Rate(200, per=timedelta(seconds=1)))
def rated(number: int) -> int:
    """At most 200 times a second."""
    return number


@pipeline("soak/mix-child", concurrency=Limit(2, key="{tenant}"))
def mix_child(tenant: str, number: int) -> int:
    """A child; each tenant has two slots."""
    return rated(number) + len(tenant)


@pipeline("soak/mix")
def mix(tenant: str, number: int) -> int:
    echo(fail_once(number))
    sleep("rest", timedelta(milliseconds=100))
    total = sum(each(echo, [number, number + 1, number + 2]))
    emit("soak/mixed", {"number": number})
    wait_for("soak/mixed", match={"number": number}, timeout=timedelta(minutes=1))
    return total + mix_child(tenant, number)


@pipeline("soak/mix-debounced", debounce=Debounce(timedelta(milliseconds=200), key="{tenant}"))
def mix_debounced(tenant: str, number: int) -> int:
    """The last of several requests."""
    return number + len(tenant)
