"""Priority, from -600 to 600 seconds, in every queue that a task may stand in."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Limit, Retry, pipeline, sleep, step
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.worker import loop
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


@pipeline("priority/grouped", concurrency=Limit(1, key="{tenant}"))
def grouped(name: str, tenant: str = "a") -> None:
    do(name)


@pipeline("priority/slept")
def slept(name: str) -> None:
    sleep("a while", timedelta(minutes=30))
    do(name)


SPREAD = {"first": 600, "second": 1, "third": 0, "fourth": -1, "last": -600}


@pytest.mark.parametrize("bound", [free, limited, grouped, slept])
def test_the_whole_span_is_kept_in_every_queue(bound):
    for name in reversed(SPREAD):
        bound.using(priority=SPREAD[name]).enqueue(name)
    for minutes in (0, 45):
        advance(minutes=minutes)
        work()

    assert done == list(SPREAD)


def test_a_priority_is_worth_its_seconds_and_no_more():
    free.using(priority=0).enqueue("old")
    advance(seconds=599)
    free.using(priority=600).enqueue("urgent, a little younger")
    work()
    free.using(priority=0).enqueue("older")
    advance(seconds=601)
    free.using(priority=600).enqueue("urgent, but much younger")
    work()

    assert done == ["urgent, a little younger", "old", "older", "urgent, but much younger"]


def test_it_goes_across_pipelines_whether_limited_or_not(monkeypatch):
    # Short tasks of one pipeline are claimed several at once, and then overtake a few of another one.
    monkeypatch.setattr(loop, "MOST_AHEAD", 1)
    free.using(priority=-600).enqueue("5")
    limited.using(priority=600).enqueue("1")
    other.using(priority=0).enqueue("4")
    grouped.using(priority=300).enqueue("2")
    free.using(priority=200).enqueue("3")

    work()

    assert done == ["1", "2", "3", "4", "5"]


def test_a_task_that_goes_on_keeps_its_priority_among_fresh_ones():
    slept.using(priority=600).enqueue("resumed")
    slept.using(priority=-600).enqueue("resumed late")
    work()
    advance(minutes=30)
    free.enqueue("fresh")
    dispatch.run_due(1)

    work()

    assert done == ["resumed", "fresh", "resumed late"]


def test_within_a_tenant_it_counts_while_tenants_take_turns():
    for name, priority in (("low", -600), ("high", 600), ("middle", 0)):
        grouped.using(priority=priority).enqueue(name, "a")
    grouped.using(priority=-600).enqueue("alone", "b")

    work()

    assert [name for name in done if name != "alone"] == ["high", "middle", "low"]
    # A worker may take two at once, and then does the more urgent one first; but not all of a tenant's.
    assert done[-1] == "low"


@pytest.mark.parametrize("priority", [-601, 601])
def test_beyond_the_span_it_is_refused(priority):
    with pytest.raises(InvalidOptions, match="from -600 to 600"):
        free.using(priority=priority)


@pytest.mark.parametrize("priority", [-600, 600])
def test_the_place_in_the_queue_is_the_due_time_less_the_priority(priority):
    free.using(priority=priority).enqueue("x")

    task = Task.objects.get()
    assert task.due_at - task.sort_at == timedelta(seconds=priority)
