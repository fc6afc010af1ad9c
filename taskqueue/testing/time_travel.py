"""Time travel: rows move into the past, and the clock stays. A test of 24 hours of retries takes a millisecond."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import DateTimeField, F, Model

from taskqueue.models import Attempt, Event, IdempotencyKey, RateLimitBucket, Reopened, Schedule, Skip, Step, Task, Wait

MOVED = (Task, Step, Wait, Event, RateLimitBucket, Skip, Schedule, Attempt, IdempotencyKey, Reopened)
OUT_OF_RANGE = timedelta(days=200_000)


def advance(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
    """Let time pass for every task: what becomes due in this time is due now.

    All times of tasks, steps, attempts and keys move into the past together, so the intervals between them stay. The
    rows of workers do not change.
    """
    move_into_past(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))


def move_into_past(duration: timedelta, *, excluding: tuple[type[Model], ...] = ()) -> None:
    """Move all times into the past, except those of the excluded models."""
    with transaction.atomic():
        for model in MOVED:
            if model not in excluding:
                model._default_manager.update(**{name: F(name) - duration for name in times_of(model)})
        # Unique per schedule, and PostgreSQL checks row by row: move all out of range first, and then to their times.
        for shift in (duration + OUT_OF_RANGE, -OUT_OF_RANGE):
            Task.objects.filter(cron_at__isnull=False).update(cron_at=F("cron_at") - shift)


def times_of(model: type[Model]) -> list[str]:
    names = [field.name for field in model._meta.concrete_fields if isinstance(field, DateTimeField)]
    return [name for name in names if name != "cron_at"]
