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
from taskqueue.errors import FieldError, InvalidLimit
from taskqueue.models import ConcurrencyLimit, RateLimit, RateLimitBucket

LONGEST_HOLD = timedelta(days=3650)
LIMIT_FIELDS = {
    "tasks": "declared_tasks",
    "tasks_per_key": "declared_tasks_per_key",
    "steps": "declared_steps",
    "steps_per_key": "declared_steps_per_key",
}
"""What people may change of a concurrency limit, and beside it what the code says."""


def change_concurrency_limit(pipeline: str, limits: Mapping[str, int | None]) -> None:
    """Set limits of a pipeline; None for what the code says. Who is in stays in; a lower limit lets nobody more in.

    Raises:
        InvalidLimit: one lets nobody pass, or counts by a key that the pipeline does not have.
    """
    with transaction.atomic():
        concurrency_limit = ConcurrencyLimit.objects.select_for_update(no_key=True).get(pipeline=pipeline)
        check_concurrency_limit(concurrency_limit, limits)
        ConcurrencyLimit.objects.filter(pipeline=pipeline).update(**limits)
        slots.grant(pipeline)
        notify_on_commit()


def check_concurrency_limit(concurrency_limit: ConcurrencyLimit, limits: Mapping[str, int | None]) -> None:
    """See that limits let somebody pass.

    Raises:
        InvalidLimit
    """
    faults = []
    for name, most in limits.items():
        if most is None:
            continue
        if name not in LIMIT_FIELDS or not 1 <= most <= policies.MOST_AT_A_TIME:
            faults.append(FieldError(f"/{name}", f"A limit is 1 to {policies.MOST_AT_A_TIME:,}; to stop all, pause."))
        elif name.endswith("_per_key") and not concurrency_limit.key:
            faults.append(FieldError(f"/{name}", "The pipeline has no key: give one of its limits a key in the code."))
    if faults:
        raise InvalidLimit(faults[0].detail, faults)


def change_rate_limit(name: str, *, count: int | None, per: timedelta | None, burst: int | None) -> None:
    """Set the numbers of a rate; None for what the code says. What was given a time by the old ones asks anew.

    Raises:
        InvalidLimit: they make no rate.
    """
    with transaction.atomic():
        rate = locked(name)
        check_rate(rate, count=count, per=per, burst=burst)
        RateLimit.objects.filter(name=name).update(count=count, per=per, burst=burst, changed_at=Now())
        RateLimitBucket.objects.filter(rate=name).update(passes_at=Least(F("passes_at"), Now()))
        forget_times(name)


def check_rate(rate: RateLimit, *, count: int | None, per: timedelta | None, burst: int | None) -> None:
    """See that numbers make a rate.

    Raises:
        InvalidLimit
    """
    given = {"count": count, "per": None if per is None else per.total_seconds(), "burst": burst}
    for field, value in given.items():
        if value is not None and value <= 0:
            raise InvalidLimit(f"{field} must be more than nothing.", [FieldError(f"/{field}", "More than nothing.")])
    try:
        policies.Rate(
            rate.declared_count if count is None else count,
            per=rate.declared_per if per is None else per,
            burst=rate.declared_burst if burst is None else burst,
        )
    except ValueError as error:
        raise InvalidLimit(str(error), [FieldError("", str(error))]) from error


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
        held = {"blocked_until": Now() + delay, "block_reason": codec.printable(reason)[:300]}
        RateLimitBucket.objects.update_or_create(
            rate=rate, key=key, defaults=held, create_defaults={**held, "theoretical_arrival_at": Now()}
        )


def check_hold(rate: RateLimit, key: str, delay: timedelta, reason: str) -> None:
    """See that a hold holds somebody, for some time and a reason.

    Raises:
        InvalidLimit
    """
    faults = []
    if bool(key) != bool(rate.key):
        sentence = f"The rate is kept for each value of {rate.key}: say for which." if rate.key else "It has no key."
        faults.append(FieldError("/key", sentence))
    faults += key_faults(key)
    if not timedelta(0) < delay <= LONGEST_HOLD:
        faults.append(FieldError("/delay", f"A hold lasts from a moment to {LONGEST_HOLD.days:,} days."))
    if not reason.strip():
        faults.append(FieldError("/reason", "Say why, for those who ask why their tasks wait."))
    if faults:
        raise InvalidLimit(faults[0].detail, faults)


def release_hold(name: str, key: str) -> bool:
    """Let a rate's users pass again that RetryAfter held back. False when it is not held."""
    with transaction.atomic():
        locked(name)
        held = RateLimitBucket.objects.filter(rate=name, key=key, blocked_until__gt=Now())
        if not held.update(blocked_until=None, block_reason=""):
            return False
        forget_times(name)
    return True


def locked(name: str) -> RateLimit:
    """A rate of which nobody is given a time until the transaction ends: neither a start nor a step."""
    list(ConcurrencyLimit.objects.select_for_update(no_key=True).filter(rate=name).order_by("pk").values_list("pk"))
    list(RateLimitBucket.objects.select_for_update(no_key=True).filter(rate=name).order_by("pk").values_list("pk"))
    return RateLimit.objects.get(name=name)


def forget_times(name: str) -> None:
    """Take back the times that a rate gave: what waits for one is queued and asks again, starts in their old order."""
    RateLimitBucket.objects.filter(rate=name).update(theoretical_arrival_at=Least(F("theoretical_arrival_at"), Now()))
    sql.fetch(sql.FORGET_TIMES, {"rate": name})
    notify_on_commit()
