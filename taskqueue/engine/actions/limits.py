"""Change limits and block rates while workers run. A change counts from the next claim and the next step on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Least, Now

from taskqueue import policies
from taskqueue.engine import sql
from taskqueue.engine.access.actor import SYSTEM, Actor
from taskqueue.engine.enqueue.options import key_errors
from taskqueue.engine.execution import slots
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.errors import FieldError, InvalidLimit
from taskqueue.json_values import codec
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimit, RateLimitBucket

LONGEST_BLOCK = timedelta(days=3650)
LIMIT_FIELDS = {name: f"declared_{name}" for name in ("tasks", "tasks_per_key", "steps", "steps_per_key")}
"""The fields of a concurrency limit that an operator may change, with the fields of the code's values."""
RATE_FIELDS = ("count", "per", "burst")
"""The fields of a rate that an operator may change; the code's values are in `declared_…`."""


def change_concurrency_limit(
    pipeline: str, limits: Mapping[str, int | None], *, message: str = "", actor: Actor = SYSTEM
) -> None:
    """Set limits of a pipeline; None for the code's value. Slots in use stay, also above a lower limit.

    The audit entry has `message`, or lists the changes.

    Raises:
        InvalidLimit: one is out of range, or counts by a key that the pipeline does not have.
    """
    with transaction.atomic():
        concurrency_limit = ConcurrencyLimit.objects.select_for_update(no_key=True).get(pipeline=pipeline)
        check_concurrency_limit(concurrency_limit, limits)
        said = message or changes_text(vars(concurrency_limit), limits)
        ConcurrencyLimit.objects.filter(pipeline=pipeline).update(**limits)
        slots.grant(pipeline)
        notify_on_commit()
        if said:
            actor.record(Pipeline(pk=pipeline), said)


def check_concurrency_limit(concurrency_limit: ConcurrencyLimit, limits: Mapping[str, int | None]) -> None:
    """Check new limits.

    Raises:
        InvalidLimit
    """
    errors = []
    for name, limit in limits.items():
        if limit is None:
            continue
        if name not in LIMIT_FIELDS or not 1 <= limit <= policies.MAX_CONCURRENCY:
            errors.append(FieldError(f"/{name}", f"A limit is 1 to {policies.MAX_CONCURRENCY:,}; to stop all, pause."))
        elif name.endswith("_per_key") and not concurrency_limit.key:
            errors.append(FieldError(f"/{name}", "The pipeline has no key: give one of its limits a key in the code."))
    if errors:
        raise InvalidLimit(errors[0].detail, errors)


def change_rate_limit(
    name: str,
    *,
    count: int | None,
    per: timedelta | None,
    burst: int | None,
    pipeline: str = "",
    message: str = "",
    actor: Actor = SYSTEM,
) -> None:
    """Set the numbers of a rate; None for the code's value. Reserved times are cleared, and reserved again.

    Args:
        name: the rate.
        count: uses in a period.
        per: the period.
        burst: uses that may come at once.
        pipeline: the pipeline whose throttle it is, for the audit entry.
        message: the text of the audit entry.
        actor: named in the audit entry.

    Raises:
        InvalidLimit: the numbers make no valid rate.
    """
    with transaction.atomic():
        rate = lock(name)
        check_rate(rate, count=count, per=per, burst=burst)
        RateLimit.objects.filter(name=name).update(count=count, per=per, burst=burst, changed_at=Now())
        RateLimitBucket.objects.filter(rate=name).update(passes_at=Least(F("passes_at"), Now()))
        clear_reservations(name)
        if message:
            actor.record(Pipeline(pk=pipeline), message)


def change_some_of_rate(name: str, values: Mapping[str, Any], *, actor: Actor = SYSTEM) -> None:
    """Set some numbers of a rate: `count`, `per`, `burst`; None for the code's value. The others stay.

    Raises:
        InvalidLimit: the numbers make no valid rate.
    """
    with transaction.atomic():
        rate = RateLimit.objects.select_for_update(no_key=True).get(name=name)
        before = {field: getattr(rate, field) for field in RATE_FIELDS}
        change_rate_limit(name, **{**before, **values})
        if said := changes_text(before, values):
            actor.record(rate, said)


def changes_text(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The audit message, such as "Changed tasks from the limit in code to 3."; empty without a change."""
    changes = [
        f"{name.replace('_', ' ')} from {value_text(before[name])} to {value_text(value)}"
        for name, value in after.items()
        if before[name] != value
    ]
    return f"Changed {', '.join(changes)}." if changes else ""


def value_text(value: Any) -> str:
    """A limit in words; None stands for the limit in code."""
    if value is None:
        return "the limit in code"
    return f"{value.total_seconds():g} s" if isinstance(value, timedelta) else f"{value:,}"


def check_rate(rate: RateLimit, *, count: int | None, per: timedelta | None, burst: int | None) -> None:
    """Check the new numbers of a rate.

    Raises:
        InvalidLimit
    """
    numbers = {"count": count, "per": None if per is None else per.total_seconds(), "burst": burst}
    for field, number in numbers.items():
        if number is not None and number <= 0:
            raise InvalidLimit(f"{field} must be more than nothing.", [FieldError(f"/{field}", "More than nothing.")])
    try:
        policies.Rate(
            rate.declared_count if count is None else count,
            per=rate.declared_per if per is None else per,
            burst=rate.declared_burst if burst is None else burst,
        )
    except ValueError as error:
        raise InvalidLimit(str(error), [FieldError("", str(error))]) from error


def block_rate(name: str, key: str, *, delay: timedelta, reason: str, length: str = "", actor: Actor = SYSTEM) -> None:
    """Block a rate, as RetryAfter does: steps and starts that use it wait. It replaces an earlier block.

    Args:
        name: the rate.
        key: the value of its key; empty for a rate without a key.
        delay: how long, from now on.
        reason: shown with the tasks that wait.
        length: the delay in words, for the audit entry.
        actor: named in the audit entry.

    Raises:
        InvalidLimit
    """
    with transaction.atomic():
        rate = lock(name)
        check_block(rate, key, delay, reason)
        values = {"blocked_until": Now() + delay, "block_reason": codec.printable(reason)[:300]}
        RateLimitBucket.objects.update_or_create(
            rate=rate, key=key, defaults=values, create_defaults={**values, "theoretical_arrival_at": Now()}
        )
        actor.record(rate, f"Blocked{' ' + key if key else ''} for {length}: {reason}")


def check_block(rate: RateLimit, key: str, delay: timedelta, reason: str) -> None:
    errors = []
    if bool(key) != bool(rate.key):
        message = f"The rate counts by {rate.key}: give a value of it." if rate.key else "The rate has no key."
        errors.append(FieldError("/key", message))
    errors += key_errors(key)
    if not timedelta(0) < delay <= LONGEST_BLOCK:
        errors.append(FieldError("/delay", f"A block lasts up to {LONGEST_BLOCK.days:,} days."))
    if not reason.strip():
        errors.append(FieldError("/reason", "Give a reason. It is shown with the tasks that wait."))
    if errors:
        raise InvalidLimit(errors[0].detail, errors)


def unblock_rate(name: str, key: str, *, actor: Actor = SYSTEM) -> bool:
    """End the block of a rate, also one that RetryAfter began. False when it is not blocked."""
    with transaction.atomic():
        rate = lock(name)
        blocked = RateLimitBucket.objects.filter(rate=name, key=key, blocked_until__gt=Now())
        if not blocked.update(blocked_until=None, block_reason=""):
            return False
        clear_reservations(name)
        actor.record(rate, f"Unblocked {key}." if key else "Unblocked.")
    return True


def lock(name: str) -> RateLimit:
    """Lock a rate: no start and no step can reserve a time until the transaction ends."""
    list(ConcurrencyLimit.objects.select_for_update(no_key=True).filter(rate=name).order_by("pk").values_list("pk"))
    list(RateLimitBucket.objects.select_for_update(no_key=True).filter(rate=name).order_by("pk").values_list("pk"))
    return RateLimit.objects.get(name=name)


def clear_reservations(name: str) -> None:
    """Clear the reserved times of a rate: tasks and steps that wait for one are queued and reserve again, in order."""
    RateLimitBucket.objects.filter(rate=name).update(theoretical_arrival_at=Least(F("theoretical_arrival_at"), Now()))
    sql.fetch(sql.CLEAR_RESERVATIONS, {"rate": name})
    notify_on_commit()
