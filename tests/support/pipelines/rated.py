"""Pipelines whose steps have rates, and how long their tasks wait."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from taskqueue import Rate, Retry, RetryAfter, pipeline, step
from taskqueue.models import Task
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import note

MINUTE = timedelta(minutes=1)


@step(rate=Rate(1, per=MINUTE, name="test/minutely"), retry=Retry.fixed(timedelta(seconds=1), retries=3))
def minutely(number: int) -> int:
    note("minutely")
    return number


@step(rate="test/minutely")
def shares(number: int) -> int:
    note("shares")
    return number


@step(rate=Rate(2, per=MINUTE, burst=2, key="{tenant}", name="test/keyed"))
def keyed(tenant: str) -> str:
    note(f"keyed {tenant}")
    return tenant


@step(rate="test/minutely", retry=Retry.fixed(timedelta(seconds=1), retries=3))
def busy(whom: str) -> str:
    note("busy")
    if pipelines.broken["told"] == 0:
        pipelines.broken["told"] = 1
        raise RetryAfter(timedelta(hours=1), "429", hold=whom == "all")
    return "done"


@pipeline("rates/minutely")
def one_minutely(number: int) -> int:
    return minutely(number)


@pipeline("rates/shares")
def one_shares(number: int) -> int:
    return shares(number)


@pipeline("rates/keyed")
def one_keyed(tenant: str) -> str:
    return keyed(tenant)


@pipeline("rates/busy")
def one_busy(whom: str) -> str:
    return busy(whom)


def reload(task):
    return Task.objects.get(pk=task.pk)


def now():
    return Task.objects.annotate(now=Now()).values_list("now", flat=True)[0]


def waits(task):
    task = reload(task)
    assert task.status == "waiting"
    return round((task.due_at - now()).total_seconds())


def waits_about(task):
    """The wait to five seconds: a busy machine may lose one or two."""
    return 5 * round(waits(task) / 5)
