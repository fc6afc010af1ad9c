"""Concurrent requests for one task, each on its own connection."""

from __future__ import annotations

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
from tests.support.database.races import OpenTransaction, run_concurrently, run_until_blocked
from tests.support.leases import take
from tests.support.pipelines.basic import one_step
from tests.support.pipelines.deduplicated import gather, newest, only, quiet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("key", ["", "k"])
def test_concurrent_requests_make_one_singleton(key):
    results = [task for _ in range(3) for task in run_concurrently(10, lambda: only.using(key=key).enqueue("a"))]

    assert len({task.pk for task in results}) == 1
    assert sum(not task.duplicate for task in results) == 1
    assert Skip.objects.count() == 29


def test_requests_with_different_keys_share_a_singleton():
    numbers = count()

    results = run_concurrently(10, lambda: only.using(key=f"k{next(numbers)}").enqueue("a"))

    assert len({task.pk for task in results}) == 1
    assert set(IdempotencyKey.objects.values_list("task_id", flat=True)) == {results[0].pk}
    assert IdempotencyKey.objects.count() == 10


@pytest.mark.parametrize("bound", [one_step, only], ids=["plain", "singleton"])
def test_a_request_with_a_taken_key_waits_for_no_other_one(bound):
    first = bound.using(key="k").enqueue(1 if bound is one_step else "a")
    other = OpenTransaction(lambda: IdempotencyKey.objects.select_for_update().get(key="k"))

    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            second = bound.using(key="k").enqueue(1 if bound is one_step else "a")
    finally:
        other.end()

    assert (second.pk, second.duplicate) == (first.pk, True)


def test_concurrent_replacements_leave_one_task():
    numbers = count()

    results = run_concurrently(10, lambda: newest.using(key=f"k{next(numbers)}").enqueue("a"))

    assert len({task.pk for task in results}) == 10
    assert Task.objects.filter(status="cancelled").count() == 9
    assert Task.objects.exclude(status__in=ENDED).count() == 1
    assert IdempotencyKey.objects.count() == 10


def call_next(actions: list[Any]) -> Any:
    return actions.pop()()


@pytest.mark.parametrize("bound", [only, newest])
def test_a_request_during_a_singletons_end_joins_or_replaces(bound):
    with InProcessWorker() as worker:
        for _ in range(10):
            first = bound.enqueue("a")
            lease = take(worker.row.pk)
            actions = [partial(settle, lease, Succeeded("1"), claim_request=None), partial(bound.enqueue, "a")]

            results = run_concurrently(2, partial(call_next, actions))

            (second,) = [result for result in results if isinstance(result, Task)]
            first.refresh_from_db()
            assert second.pk == first.pk or not second.duplicate
            assert first.has_ended
            Task.objects.exclude(status__in=ENDED).delete()


def test_a_request_makes_the_task_after_the_firsts_rollback():
    first = OpenTransaction(lambda: only.using(key="k1").enqueue("a", 1))
    second = run_until_blocked(lambda: only.using(key="k2").enqueue("a", 2))
    first.roll_back()
    task = second.result(timeout=90)

    assert not task.duplicate
    assert Task.objects.get().payload == {"tenant": "a", "number": 2}
    assert IdempotencyKey.objects.get().task_id == task.pk


def test_concurrent_batching_neither_loses_nor_doubles_items():
    numbers = count(1)

    results = [task for _ in range(3) for task in run_concurrently(10, lambda: gather.enqueue([next(numbers)]))]

    tasks = list(Task.objects.all())
    assert {task.pk for task in results} == {task.pk for task in tasks}
    assert sorted(number for task in tasks for number in task.payload["numbers"]) == list(range(1, 31))
    assert [len(task.payload["numbers"]) for task in tasks] == [3] * 10
    assert {task.status for task in tasks} == {"queued"}


def test_concurrent_debounced_requests_make_one_task():
    results = run_concurrently(10, lambda: quiet.enqueue("a"))

    assert len({task.pk for task in results}) == 1
    assert Skip.objects.filter(kind="debounced").count() == 9


def test_a_debounced_task_does_not_fall_due_while_locked():
    task = quiet.enqueue("a", 1)
    advance(seconds=60)
    changing = OpenTransaction(lambda: quiet.enqueue("a", 2))
    dispatch.run_due(5)
    assert Task.objects.get().payload["number"] == 1
    assert changing.end().pk == task.pk

    dispatch.run_due(5)
    task.refresh_from_db()
    assert (task.status, task.payload["number"]) == ("scheduled", 2)


def test_a_request_blocked_by_a_due_task_makes_another():
    task = quiet.enqueue("a", 1)
    advance(seconds=60)
    falling_due = OpenTransaction(lambda: dispatch.run_due(5))
    requesting = run_until_blocked(lambda: quiet.enqueue("a", 2))
    falling_due.end()
    second = requesting.result(timeout=90)

    task.refresh_from_db()
    assert (task.status, task.payload["number"]) == ("queued", 1)
    assert (second.duplicate, second.status) == (False, "scheduled")
