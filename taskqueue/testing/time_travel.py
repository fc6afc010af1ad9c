"""Time travel: rows move into the past, and the clock stays. A test of 24 hours of retries takes a millisecond."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import F, Model

from taskqueue.models import Attempt, Event, IdempotencyKey, RateLimitBucket, Reopened, Schedule, Skip, Step, Task, Wait


def advance(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
    """Let time pass for every task: what becomes due in this time is due now.

    All times of tasks, steps, attempts and keys move into the past together, so the intervals between them stay. The
    rows of workers do not change.
    """
    move_into_past(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))


def move_into_past(duration: timedelta, *, excluding: tuple[type[Model], ...] = ()) -> None:
    """Move all times into the past, except those of the excluded models."""
    with transaction.atomic():
        for model, fields in TIMES.items():
            if model in excluding:
                continue
            model._default_manager.update(**{field: F(field) - duration for field in fields})
        # Unique per schedule, and PostgreSQL checks row by row: move all out of range first, and then to their times.
        for shift in (duration + OUT_OF_RANGE, -OUT_OF_RANGE):
            Task.objects.filter(cron_at__isnull=False).update(cron_at=F("cron_at") - shift)


OUT_OF_RANGE = timedelta(days=200_000)

TIMES = {
    Task: (
        "due_at",
        "sort_at",
        "created_at",
        "slot_acquired_at",
        "started_at",
        "start_by",
        "finish_by",
        "finished_at",
        "retried_at",
        "since",
    ),
    Step: ("started_at", "finished_at", "until"),
    Wait: ("until", "created_at", "resolved_at"),
    Event: ("received_at", "routed_at"),
    RateLimitBucket: ("theoretical_arrival_at", "passes_at", "last_admitted_at", "blocked_until"),
    Skip: ("created_at",),
    Schedule: ("next_at", "last_at"),
    Attempt: ("started_at", "finished_at"),
    IdempotencyKey: ("expires_at",),
    Reopened: ("finished_at",),
}
