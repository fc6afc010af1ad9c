"""Concurrent bulk requests, each on its own connection."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from taskqueue import Singleton, pipeline
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions import submissions
from taskqueue.engine.enqueue.bulk import Request
from taskqueue.engine.enqueue.options import Options
from taskqueue.models import Task
from tests.support.database.races import run_concurrently, wait_for_blocked_session
from tests.support.pipelines.basic import one_step
from tests.support.registries import own_registry

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = Actor(None)


@pytest.fixture(autouse=True)
def _deadlocks_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "retry_deadlocks", lambda do: do())


def submit(*keys: str) -> list[Task]:
    requests = [Request(one_step.definition.name, {"number": 1}, Options(key=key)) for key in keys]
    return submissions.submit_many(requests, actor=ACTOR)


def submit_singletons(*tenants: str) -> list[Task]:
    requests = [Request("races/one-each", {"tenant": tenant}, Options()) for tenant in tenants]
    return submissions.submit_many(requests, actor=ACTOR)


def run_together(submit: Callable[..., list[Task]], first: tuple[str, ...], second: tuple[str, ...]) -> list[Any]:
    """Let two bulk requests wait for the lock of a third, then release both at once."""

    def begin(keys: tuple[str, ...]) -> Any:
        try:
            return submit(*keys)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            submit("shared")
            running = [pool.submit(begin, keys) for keys in (first, second)]
            wait_for_blocked_session(2)
        return [each.result(timeout=200) for each in running]


def test_two_bulk_requests_with_reversed_keys_both_commit():
    one, other = run_together(submit, ("a", "shared", "b"), ("b", "shared", "a"))

    assert {task.key: task.pk for task in one} == {task.key: task.pk for task in other}
    assert [task.key for task in one] == ["a", "shared", "b"]
    assert Task.objects.count() == 3
    assert sum(not task.duplicate for task in [*one, *other]) == 2


def test_two_bulk_requests_with_reversed_singletons_both_commit():
    with own_registry():

        @pipeline("races/one-each", singleton=Singleton(key="{tenant}"))
        def one_each(tenant: str) -> None: ...

        one, other = run_together(submit_singletons, ("a", "shared", "b"), ("b", "shared", "a"))

    assert [task.pk for task in one] == [task.pk for task in reversed(other)]
    assert Task.objects.count() == 3


def test_many_bulk_requests_with_shuffled_keys_all_commit():
    keys = [f"k{number}" for number in range(40)]
    orders = iter([keys, keys[::-1], keys[20:] + keys[:20], keys[::2] + keys[1::2]] * 2)

    batches = run_concurrently(8, lambda: submit(*next(orders)))

    assert {tuple(sorted(str(task.pk) for task in batch)) for batch in batches} == {
        tuple(sorted(str(pk) for pk in Task.objects.values_list("pk", flat=True)))
    }
    assert Task.objects.count() == 40
