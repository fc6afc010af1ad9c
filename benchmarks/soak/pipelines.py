"""A mix of all that tasks can do, for the soak."""

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
def take_note(number: int) -> int:
    """Return at once."""
    return number


@pipeline("soak/short", throttle=Rate(500, per=timedelta(seconds=1)))
def short(number: int) -> int:
    """One step."""
    return take_note(number)


@pipeline("soak/waits-for-ever")
def wait_for_ever(number: int) -> None:
    """Wait until it is cancelled."""
    wait_for("soak/never", match={"number": number}, timeout=timedelta(days=1))


@step(retry=Retry.fixed(timedelta(milliseconds=50), retries=1))
def stumble(number: int) -> int:
    """Fail the first time."""
    if current_task().attempt == 1:
        raise ConnectionError
    return number


@step(rate=Rate(200, per=timedelta(seconds=1)))
def rated(number: int) -> int:
    """Next to nothing, 200 times a second at most."""
    return number


@pipeline("soak/mix-child", concurrency=Limit(2, key="{tenant}"))
def mix_child(tenant: str, number: int) -> int:
    """A child of a tenant that has two places."""
    return rated(number) + len(tenant)


@pipeline("soak/mix")
def mix(tenant: str, number: int) -> int:
    """Everything that a task can do."""
    take_note(stumble(number))
    sleep("rest", timedelta(milliseconds=100))
    total = sum(each(take_note, [number, number + 1, number + 2]))
    emit("soak/mixed", {"number": number})
    wait_for("soak/mixed", match={"number": number}, timeout=timedelta(minutes=1))
    return total + mix_child(tenant, number)


@pipeline("soak/mix-debounced", debounce=Debounce(timedelta(milliseconds=200), key="{tenant}"))
def mix_debounced(tenant: str, number: int) -> int:
    """The last of several requests."""
    return number + len(tenant)
