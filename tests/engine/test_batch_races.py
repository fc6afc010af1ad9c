"""Batches at the same moment, each on a connection of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from taskqueue.engine import deeds
from taskqueue.engine.batches import Request
from taskqueue.engine.deeds import Doer
from taskqueue.engine.intake import Options
from taskqueue.models import Task
from tests.engine.pipelines import one_step
from tests.engine.test_races import wait_until_somebody_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)
NOBODY = Doer(None)


def submit(*keys: str) -> list[Task]:
    requests = [Request(one_step.definition.name, {"number": 1}, Options(key=key)) for key in keys]
    return deeds.submit_many(requests, doer=NOBODY)


def meet(first: tuple[str, ...], second: tuple[str, ...]) -> list[Any]:
    """Let two batches go on together after each has made its first task."""

    def begin(keys: tuple[str, ...]) -> Any:
        try:
            return submit(*keys)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            one_step.using(key="gate").enqueue(0)
            running = [pool.submit(begin, keys) for keys in (first, second)]
            wait_until_somebody_waits_for_a_lock(2)
        return [each.result(timeout=60) for each in running]


def test_two_batches_with_the_same_keys_in_opposite_order_both_come_through():
    one, other = meet(("a", "gate", "b"), ("b", "gate", "a"))

    assert {task.key: task.pk for task in one} == {task.key: task.pk for task in other}
    assert Task.objects.count() == 3
    assert sum(not task.duplicate for task in [*one, *other]) == 2
