"""Batches at the same moment, each on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from taskqueue import Singleton, pipeline
from taskqueue.engine.actions import audited
from taskqueue.engine.actions.audited import Actor
from taskqueue.engine.enqueue.bulk import Request
from taskqueue.engine.enqueue.options import Options
from taskqueue.models import Task
from tests.support.database.races import at_once, until_a_lock_is_awaited
from tests.support.pipelines.basic import one_step
from tests.support.registries import own_registry

pytestmark = pytest.mark.django_db(transaction=True)
NOBODY = Actor(None)


@pytest.fixture(autouse=True)
def _deadlocks_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "done_in_spite_of_deadlocks", lambda do: do())


def submit(*keys: str) -> list[Task]:
    requests = [Request(one_step.definition.name, {"number": 1}, Options(key=key)) for key in keys]
    return audited.submit_many(requests, actor=NOBODY)


def submit_singletons(*tenants: str) -> list[Task]:
    requests = [Request("races/one-each", {"tenant": tenant}, Options()) for tenant in tenants]
    return audited.submit_many(requests, actor=NOBODY)


def meet(submit: Callable[..., list[Task]], first: tuple[str, ...], second: tuple[str, ...]) -> list[Any]:
    """Let two batches go on together after each has come to what a third one holds."""

    def begin(keys: tuple[str, ...]) -> Any:
        try:
            return submit(*keys)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            submit("gate")
            running = [pool.submit(begin, keys) for keys in (first, second)]
            until_a_lock_is_awaited(2)
        return [each.result(timeout=200) for each in running]


def test_two_batches_with_the_same_keys_in_opposite_order_both_come_through():
    one, other = meet(submit, ("a", "gate", "b"), ("b", "gate", "a"))

    assert {task.key: task.pk for task in one} == {task.key: task.pk for task in other}
    assert [task.key for task in one] == ["a", "gate", "b"]
    assert Task.objects.count() == 3
    assert sum(not task.duplicate for task in [*one, *other]) == 2


def test_two_batches_of_the_same_singletons_in_opposite_order_both_come_through():
    with own_registry():

        @pipeline("races/one-each", singleton=Singleton(key="{tenant}"))
        def one_each(tenant: str) -> None: ...

        one, other = meet(submit_singletons, ("a", "gate", "b"), ("b", "gate", "a"))

    assert [task.pk for task in one] == [task.pk for task in reversed(other)]
    assert Task.objects.count() == 3


def test_many_batches_with_the_same_keys_in_every_order_all_come_through():
    keys = [f"k{number}" for number in range(40)]
    orders = iter([keys, keys[::-1], keys[20:] + keys[:20], keys[::2] + keys[1::2]] * 2)

    batches = at_once(8, lambda: submit(*next(orders)))

    assert {tuple(sorted(str(task.pk) for task in batch)) for batch in batches} == {
        tuple(sorted(str(pk) for pk in Task.objects.values_list("pk", flat=True)))
    }
    assert Task.objects.count() == 40
