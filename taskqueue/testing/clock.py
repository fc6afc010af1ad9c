"""Time travel: not the clock moves but the rows, so that 24 hours of retries pass in a millisecond."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import F, Model

from taskqueue.models import Attempt, Event, IdempotencyKey, RateLimitBucket, Reopened, Schedule, Skip, Step, Task, Wait


def advance(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
    """Let time pass for every task: whatever was due in so long is due now.

    All times of tasks, steps, attempts and keys move into the past together, so that the intervals between them stay as
    they were. Workers are left alone: they live in the present.
    """
    let_pass(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))


def let_pass(passed: timedelta, *, leaving: tuple[type[Model], ...] = ()) -> None:
    """The same for a length of time, leaving some rows as they are."""
    with transaction.atomic():
        for model, fields in MOVED.items():
            if model in leaving:
                continue
            model._default_manager.update(**{field: F(field) - passed for field in fields})
        # One row after another: on the way no tick may fall on another's time.
        for way in (passed + AGES, -AGES):
            Task.objects.filter(cron_at__isnull=False).update(cron_at=F("cron_at") - way)


AGES = timedelta(days=200_000)

MOVED = {
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
