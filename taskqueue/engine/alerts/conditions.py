"""The conditions of alert rules. To add one, write its function and its line in CONDITIONS.

A function reads the numbers that the pages show, and yields what is at or beyond the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from django.db.models import F
from django.db.models.functions import Now

from taskqueue.definitions import ALERT, DELIVERY
from taskqueue.engine import sql
from taskqueue.engine.queries import pipeline_stats
from taskqueue.engine.queries.reasons import duration_text
from taskqueue.engine.runtime.queue_workers import queue_workers
from taskqueue.models import Schedule, Skip, Subscription
from taskqueue.states import SkipKind, TaskStatus

LEAST_FAILURES: Final = 3
"""Fewer failed tasks in an hour are no failure rate."""
MISSED_RUN_SHOWN: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Finding:
    """A subject for which a condition holds.

    Attributes:
        subject: the pipeline, queue or subscription; empty for the whole service.
        value: in the unit of the condition's threshold.
        text: a sentence with the numbers.
        link: the admin page behind it, below the address of the app.
    """

    subject: str
    value: float
    text: str
    link: str


@dataclass(frozen=True)
class Condition:
    """A condition, with the values of the rule that is created for it at first.

    Attributes:
        title: what it is called; also the name of the first rule.
        unit: of the threshold.
        read: given a threshold, what is at or beyond it now.
    """

    title: str
    unit: str
    threshold: float
    hold_for: timedelta
    read: Callable[[float], Iterable[Finding]]


def failure_rate(points: float) -> Iterator[Finding]:
    for pipeline, failed, decided, failed_before, decided_before in sql.fetch(
        sql.FAILURE_RATES, {"least": LEAST_FAILURES}
    ):
        share, usual = percent(failed, decided), percent(failed_before, decided_before)
        if share - usual >= points:
            text = f"{failed:,} of {decided:,} tasks failed in the last hour: {share:.0f}%, usually {usual:.0f}%."
            yield Finding(pipeline, share - usual, text, link("task", pipeline=pipeline, status=TaskStatus.FAILED))


def oldest_queued(minutes: float) -> Iterator[Finding]:
    for each in pipeline_stats.readiness():
        # All tasks may wait for a limit, which is another condition. Of a paused pipeline none is claimable.
        if each.claimable and each.oldest is not None and each.oldest >= minutes * MINUTE:
            text = f"A task in queue {each.queue} has been due for {duration_text(each.oldest)}."
            address = link("task", pipeline=each.pipeline, status=TaskStatus.QUEUED)
            yield Finding(each.pipeline, each.oldest / MINUTE, text, address)


def too_few_workers(needed: float) -> Iterator[Finding]:
    for queue, number in queue_workers().items():
        if number < needed:
            count = f"Only {number}" if number else "No"
            text = f"{count} live worker{'s' * (number > 1)} that can claim take{'s' * (number <= 1)} queue {queue}."
            yield Finding(queue, number, text, "worker/")


def missed_schedule(minutes: float) -> Iterator[Finding]:
    overdue = Schedule.objects.filter(next_at__lte=Now() - minutes * MINUTE, pipeline__paused_at=None)
    for pipeline, late in overdue.annotate(late=Now() - F("next_at")).values_list("pipeline_id", "late"):
        yield Finding(pipeline, late / MINUTE, f"Its run is late by {duration_text(late)}.", link("schedule"))
    missed = Skip.objects.filter(kind=SkipKind.MISFIRE, created_at__gte=Now() - MISSED_RUN_SHOWN)
    for pipeline, reason in missed.order_by("-created_at").values_list("pipeline_id", "reason")[:1000]:
        yield Finding(pipeline, minutes, reason, link("skip", pipeline=pipeline))


def limit_full(tasks: float) -> Iterator[Finding]:
    for each in pipeline_stats.readiness():
        if each.blocked >= tasks and not each.is_paused:
            text = f"{each.blocked:,} task{'s' * (each.blocked != 1)} wait{'s' * (each.blocked == 1)} for a limit."
            yield Finding(
                each.pipeline, each.blocked, text, link("task", pipeline=each.pipeline, status="queued,waiting")
            )


def deliveries_retrying(deliveries: float) -> Iterator[Finding]:
    numbers = pipeline_stats.unfinished().numbers
    for pipeline in (DELIVERY, ALERT):
        number = numbers[pipeline, TaskStatus.RETRYING]
        if number >= deliveries:
            text = f"{number:,} deliver{'ies have' if number != 1 else 'y has'} failed and will be sent again."
            yield Finding(pipeline, number, text, link("task", pipeline=pipeline, status=TaskStatus.RETRYING))


def subscription_failing(deliveries: float) -> Iterator[Finding]:
    failing = Subscription.objects.filter(failures__gte=deliveries).order_by("pk")
    for each in failing:
        last = f"last {each.failures:,} deliveries have" if each.failures > 1 else "last delivery has"
        text = f"The {last} failed for good, to {each}."
        yield Finding(f"subscription {each.pk}", each.failures, text[:500], f"subscription/{each.pk}/change/")


def connections(limit: float) -> Iterator[Finding]:
    ((maximum, left),) = sql.fetch(sql.CONNECTIONS_LEFT, {})
    used = percent(maximum - left, maximum)
    if used >= limit:
        yield Finding("", used, f"{maximum - left:,} of {maximum:,} database connections are in use.", "worker/")


def percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def link(model: str, /, **filters: str) -> str:
    return f"{model}/?{urlencode(filters, safe=':.,@')}" if filters else f"{model}/"


CONDITIONS: Final = {
    "failure-rate": Condition(
        "Failure rate", "percentage points above the last seven days", 20, timedelta(0), failure_rate
    ),
    "oldest-queued": Condition("Oldest queued task", "minutes", 15, timedelta(minutes=1), oldest_queued),
    "workers": Condition("Live workers of a queue", "workers needed", 1, timedelta(minutes=1), too_few_workers),
    "missed-schedule": Condition("Missed schedule", "minutes late", 5, timedelta(0), missed_schedule),
    "limit-full": Condition("Tasks wait for a limit", "waiting tasks", 1, timedelta(hours=1), limit_full),
    "deliveries-retrying": Condition(
        "Webhooks are sent again", "deliveries", 3, timedelta(minutes=10), deliveries_retrying
    ),
    "subscription-failing": Condition(
        "Webhooks failed for good", "deliveries in a row", 1, timedelta(0), subscription_failing
    ),
    "connections": Condition("Database connections", "percent in use", 90, timedelta(minutes=1), connections),
}
"""The conditions by name, which rules store: title, unit and default of the threshold, default of `for`, function."""
