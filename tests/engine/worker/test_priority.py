"""Priority, from -600 to 600 seconds, in every queue of tasks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Limit, Retry, pipeline, sleep, step
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.worker import pace
from taskqueue.errors import InvalidOptions
from taskqueue.models import Task
from taskqueue.testing import advance, work

pytestmark = pytest.mark.django_db

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done_yet():
    done.clear()


@step(retry=Retry.fixed(timedelta(minutes=1), retries=1))
def do(name: str) -> None:
    done.append(name)


@pipeline("priority/free")
def free(name: str) -> None:
    do(name)


@pipeline("priority/other")
def other(name: str) -> None:
    do(name)


@pipeline("priority/limited", concurrency=1)
def limited(name: str) -> None:
    do(name)


@pipeline("priority/keyed", concurrency=Limit(1, key="{tenant}"))
def keyed(name: str, tenant: str = "a") -> None:
    do(name)


@pipeline("priority/slept")
def slept(name: str) -> None:
    sleep("a while", timedelta(minutes=30))
    do(name)


SPREAD = {"first": 600, "second": 1, "third": 0, "fourth": -1, "last": -600}


@pytest.mark.parametrize("bound", [free, limited, keyed, slept])
def test_every_queue_orders_the_whole_priority_range(bound):
    for name in reversed(SPREAD):
        bound.using(priority=SPREAD[name]).enqueue(name)
    for minutes in (0, 45):
        advance(minutes=minutes)
        work()

    assert done == list(SPREAD)


def test_a_priority_counts_as_seconds_of_queue_time():
    free.using(priority=0).enqueue("old")
    advance(seconds=599)
    free.using(priority=600).enqueue("urgent, a little younger")
    work()
    free.using(priority=0).enqueue("older")
    advance(seconds=601)
    free.using(priority=600).enqueue("urgent, but much younger")
    work()

    assert done == ["urgent, a little younger", "old", "older", "urgent, but much younger"]


def test_priority_holds_across_limited_and_unlimited_pipelines(monkeypatch):
    # Without prefetching: a batch of one pipeline would overtake a few tasks of another.
    monkeypatch.setattr(pace, "MOST_PREFETCHED", 1)
    free.using(priority=-600).enqueue("5")
    limited.using(priority=600).enqueue("1")
    other.using(priority=0).enqueue("4")
    keyed.using(priority=300).enqueue("2")
    free.using(priority=200).enqueue("3")

    work()

    assert done == ["1", "2", "3", "4", "5"]


def test_a_resumed_task_keeps_its_priority():
    slept.using(priority=600).enqueue("resumed")
    slept.using(priority=-600).enqueue("resumed late")
    work()
    advance(minutes=30)
    free.enqueue("fresh")
    dispatch.run_due(1)

    work()

    assert done == ["resumed", "fresh", "resumed late"]


def test_priority_holds_within_a_key_and_keys_stay_round_robin():
    for name, priority in (("low", -600), ("high", 600), ("middle", 0)):
        keyed.using(priority=priority).enqueue(name, "a")
    keyed.using(priority=-600).enqueue("alone", "b")

    work()

    assert [name for name in done if name != "alone"] == ["high", "middle", "low"]
    # A worker may prefetch two tasks of a tenant and run the more urgent one first, but not all of them.
    assert done[-1] == "low"


@pytest.mark.parametrize("priority", [-601, 601])
def test_a_priority_out_of_range_is_refused(priority):
    with pytest.raises(InvalidOptions, match="from -600 to 600"):
        free.using(priority=priority)


@pytest.mark.parametrize("priority", [-600, 600])
def test_the_queue_position_is_due_time_minus_priority(priority):
    free.using(priority=priority).enqueue("x")

    task = Task.objects.get()
    assert task.due_at - task.sort_at == timedelta(seconds=priority)
