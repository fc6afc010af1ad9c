"""Limits: what people change while everything runs. It holds from the next claim and the next step on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Least, Now

from taskqueue import codec, policies
from taskqueue.engine import sql
from taskqueue.engine.enqueue.options import key_faults
from taskqueue.engine.execution import slots
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.errors import Fault, InvalidLimit
from taskqueue.models import Gate, Rate, RateUse

LONGEST_HOLD = timedelta(days=3650)
GATE_FIELDS = {
    "tasks": "declared_tasks",
    "tasks_per_key": "declared_tasks_per_key",
    "steps": "declared_steps",
    "steps_per_key": "declared_steps_per_key",
}
"""What people may change of a gate, and beside it what the code says."""


def change_gate(pipeline: str, limits: Mapping[str, int | None]) -> None:
    """Set limits of a pipeline; None for what the code says. Who is in stays in; a lower limit lets nobody more in.

    Raises:
        InvalidLimit: one lets nobody pass, or counts by a key that the pipeline does not have.
    """
    with transaction.atomic():
        gate = Gate.objects.select_for_update(no_key=True).get(pipeline=pipeline)
        check_gate(gate, limits)
        Gate.objects.filter(pipeline=pipeline).update(**limits)
        slots.grant(pipeline)
        notify_on_commit()


def check_gate(gate: Gate, limits: Mapping[str, int | None]) -> None:
    """See that limits let somebody pass.

    Raises:
        InvalidLimit
    """
    faults = []
    for name, most in limits.items():
        if most is None:
            continue
        if name not in GATE_FIELDS or not 1 <= most <= policies.MOST_AT_A_TIME:
            faults.append(Fault(f"/{name}", f"A limit is 1 to {policies.MOST_AT_A_TIME:,}; to stop all, pause."))
        elif name.endswith("_per_key") and not gate.key:
            faults.append(Fault(f"/{name}", "The pipeline has no key: give one of its limits a key in the code."))
    if faults:
        raise InvalidLimit(faults[0].detail, faults)


def change_rate(name: str, *, count: int | None, per: timedelta | None, burst: int | None) -> None:
    """Set the numbers of a rate; None for what the code says. What was given a time by the old ones asks anew.

    Raises:
        InvalidLimit: they make no rate.
    """
    with transaction.atomic():
        rate = locked(name)
        check_rate(rate, count=count, per=per, burst=burst)
        Rate.objects.filter(name=name).update(count=count, per=per, burst=burst, changed_at=Now())
        RateUse.objects.filter(rate=name).update(passes_at=Least(F("passes_at"), Now()))
        forget_times(name)


def check_rate(rate: Rate, *, count: int | None, per: timedelta | None, burst: int | None) -> None:
    """See that numbers make a rate.

    Raises:
        InvalidLimit
    """
    given = {"count": count, "per": None if per is None else per.total_seconds(), "burst": burst}
    for field, value in given.items():
        if value is not None and value <= 0:
            raise InvalidLimit(f"{field} must be more than nothing.", [Fault(f"/{field}", "More than nothing.")])
    try:
        policies.Rate(
            rate.declared_count if count is None else count,
            per=rate.declared_per if per is None else per,
            burst=rate.declared_burst if burst is None else burst,
        )
    except ValueError as error:
        raise InvalidLimit(str(error), [Fault("", str(error))]) from error


def hold(name: str, key: str, *, delay: timedelta, reason: str) -> None:
    """Let nobody pass for so long, as RetryAfter does; a hold of before is replaced.

    Args:
        name: the rate.
        key: the value of its key; empty for a rate without one.
        delay: from now on.
        reason: for those who ask why their tasks wait.

    Raises:
        InvalidLimit
    """
    with transaction.atomic():
        rate = locked(name)
        check_hold(rate, key, delay, reason)
        held = {"held_until": Now() + delay, "hold_reason": codec.printable(reason)[:300]}
        RateUse.objects.update_or_create(
            rate=rate, key=key, defaults=held, create_defaults={**held, "arrival_at": Now()}
        )


def check_hold(rate: Rate, key: str, delay: timedelta, reason: str) -> None:
    """See that a hold holds somebody, for some time and a reason.

    Raises:
        InvalidLimit
    """
    faults = []
    if bool(key) != bool(rate.key):
        sentence = f"The rate is kept for each value of {rate.key}: say for which." if rate.key else "It has no key."
        faults.append(Fault("/key", sentence))
    faults += key_faults(key)
    if not timedelta(0) < delay <= LONGEST_HOLD:
        faults.append(Fault("/delay", f"A hold lasts from a moment to {LONGEST_HOLD.days:,} days."))
    if not reason.strip():
        faults.append(Fault("/reason", "Say why, for those who ask why their tasks wait."))
    if faults:
        raise InvalidLimit(faults[0].detail, faults)


def release_hold(name: str, key: str) -> bool:
    """Let a rate's users pass again that RetryAfter held back. False when it is not held."""
    with transaction.atomic():
        locked(name)
        held = RateUse.objects.filter(rate=name, key=key, held_until__gt=Now())
        if not held.update(held_until=None, hold_reason=""):
            return False
        forget_times(name)
    return True


def locked(name: str) -> Rate:
    """A rate of which nobody is given a time until the transaction ends: neither a start nor a step."""
    list(Gate.objects.select_for_update(no_key=True).filter(rate=name).order_by("pk").values_list("pk"))
    list(RateUse.objects.select_for_update(no_key=True).filter(rate=name).order_by("pk").values_list("pk"))
    return Rate.objects.get(name=name)


def forget_times(name: str) -> None:
    """Take back the times that a rate gave: what waits for one is queued and asks again, starts in their old order."""
    RateUse.objects.filter(rate=name).update(arrival_at=Least(F("arrival_at"), Now()))
    sql.fetch(sql.FORGET_TIMES, {"rate": name})
    notify_on_commit()
