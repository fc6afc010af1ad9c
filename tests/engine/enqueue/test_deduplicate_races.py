"""Requests for one task at the same moment, each on a connection of its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any

import pytest
from django.db import connection, transaction

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.worker.settle import settle
from taskqueue.models import IdempotencyKey, Skip, Task
from taskqueue.states import ENDED
from taskqueue.testing import InProcessWorker, advance
from tests.support.database.races import at_once, until_a_lock_is_awaited
from tests.support.leases import take
from tests.support.pipelines.deduplicated import gather, newest, only, quiet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("key", ["", "k"])
def test_of_many_callers_at_once_one_makes_the_singleton(key):
    results = [task for _ in range(3) for task in at_once(10, lambda: only.using(key=key).enqueue("a"))]

    assert len({task.pk for task in results}) == 1
    assert sum(not task.duplicate for task in results) == 1
    assert Skip.objects.count() == 29


def test_callers_with_different_keys_share_a_singleton_and_each_key_stands_for_it():
    numbers = count()

    results = at_once(10, lambda: only.using(key=f"k{next(numbers)}").enqueue("a"))

    assert len({task.pk for task in results}) == 1
    assert set(IdempotencyKey.objects.values_list("task_id", flat=True)) == {results[0].pk}
    assert IdempotencyKey.objects.count() == 10


def test_of_many_that_replace_each_other_the_last_is_left():
    numbers = count()

    results = at_once(10, lambda: newest.using(key=f"k{next(numbers)}").enqueue("a"))

    assert len({task.pk for task in results}) == 10
    assert Task.objects.filter(status="cancelled").count() == 9
    assert Task.objects.exclude(status__in=ENDED).count() == 1
    assert IdempotencyKey.objects.count() == 10


def acquire(deeds: list[Any]) -> Any:
    return deeds.pop()()


@pytest.mark.parametrize("bound", [only, newest])
def test_a_request_at_the_moment_of_the_older_ones_end_finds_it_or_makes_the_next(bound):
    with InProcessWorker() as worker:
        for _ in range(10):
            first = bound.enqueue("a")
            lease = take(worker.row.pk)
            deeds = [partial(settle, lease, Succeeded("1"), claim_request=None), partial(bound.enqueue, "a")]

            results = at_once(2, partial(acquire, deeds))

            (second,) = [result for result in results if isinstance(result, Task)]
            first.refresh_from_db()
            assert second.pk == first.pk or not second.duplicate
            assert first.has_ended
            Task.objects.exclude(status__in=ENDED).delete()


def test_a_request_waits_for_the_first_ones_commit_and_makes_its_own_when_that_rolls_back():
    made, undone = threading.Event(), threading.Event()

    def first():
        try:
            with transaction.atomic():
                only.using(key="k1").enqueue("a", 1)
                made.set()
                assert undone.wait(timeout=90)
                transaction.set_rollback(True)
        finally:
            connection.close()

    def second():
        try:
            return only.using(key="k2").enqueue("a", 2)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        loser = pool.submit(first)
        assert made.wait(timeout=90)
        winner = pool.submit(second)
        until_a_lock_is_awaited()
        undone.set()
        loser.result(timeout=90)
        task = winner.result(timeout=90)

    assert not task.duplicate
    assert Task.objects.get().payload == {"tenant": "a", "number": 2}
    assert IdempotencyKey.objects.get().task_id == task.pk


def test_nothing_is_lost_or_doubled_when_many_fill_batches_at_once():
    numbers = count(1)

    results = [task for _ in range(3) for task in at_once(10, lambda: gather.enqueue([next(numbers)]))]

    tasks = list(Task.objects.all())
    assert {task.pk for task in results} == {task.pk for task in tasks}
    assert sorted(number for task in tasks for number in task.payload["numbers"]) == list(range(1, 31))
    assert [len(task.payload["numbers"]) for task in tasks] == [3] * 10
    assert {task.status for task in tasks} == {"queued"}


def test_many_debounced_requests_at_once_are_one_task():
    results = at_once(10, lambda: quiet.enqueue("a"))

    assert len({task.pk for task in results}) == 1
    assert Skip.objects.filter(kind="debounced").count() == 9


def test_a_task_that_is_being_changed_does_not_fall_due_under_the_change():
    task = quiet.enqueue("a", 1)
    advance(seconds=60)
    changed, looked = threading.Event(), threading.Event()

    def change():
        try:
            with transaction.atomic():
                assert quiet.enqueue("a", 2).pk == task.pk
                changed.set()
                assert looked.wait(timeout=90)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        assert changed.wait(timeout=90)
        dispatch.run_due(5)
        assert Task.objects.get().payload["number"] == 1
        looked.set()
        changing.result(timeout=90)

    dispatch.run_due(5)
    task.refresh_from_db()
    assert (task.status, task.payload["number"]) == ("scheduled", 2)


def test_a_request_that_waits_for_a_task_which_falls_due_makes_the_next_one():
    task = quiet.enqueue("a", 1)
    advance(seconds=60)
    due, asked = threading.Event(), threading.Event()

    def fall_due():
        try:
            with transaction.atomic():
                dispatch.run_due(5)
                due.set()
                assert asked.wait(timeout=90)
        finally:
            connection.close()

    def ask():
        try:
            return quiet.enqueue("a", 2)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        falling = pool.submit(fall_due)
        assert due.wait(timeout=90)
        asking = pool.submit(ask)
        until_a_lock_is_awaited()
        asked.set()
        falling.result(timeout=90)
        second = asking.result(timeout=90)

    task.refresh_from_db()
    assert (task.status, task.payload["number"]) == ("queued", 1)
    assert (second.duplicate, second.status) == (False, "scheduled")
