"""How many tasks a worker prefetches, and how it releases them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Release
from taskqueue.engine.worker import first_claim, loop, pace
from taskqueue.engine.worker.claims import claim
from taskqueue.models import Attempt, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import calls, interrupted, one_step

pytestmark = pytest.mark.django_db


def test_short_tasks_are_claimed_in_batches(monkeypatch):
    monkeypatch.setattr(pace, "SHORT", 60.0)
    for number in range(20):
        one_step.enqueue(number)
    waiting = []
    pipelines.during_step = lambda: waiting.append(Task.objects.filter(status="running").count())
    for _ in range(20):
        interrupted.enqueue()

    work()

    assert max(waiting) > 1
    assert max(waiting) <= pace.MOST_PREFETCHED
    assert not Task.objects.exclude(status="succeeded").exists()


def test_after_a_long_task_one_task_is_claimed(monkeypatch):
    monkeypatch.setattr(pace, "SHORT", 0.0)
    waiting = []
    pipelines.during_step = lambda: waiting.append(Task.objects.filter(status="running").count())
    for _ in range(5):
        interrupted.enqueue()

    work()

    assert waiting == [1] * 5


def test_a_worker_asks_after_three_tiny_tasks_whether_it_claims_more(monkeypatch):
    monkeypatch.setattr(pace, "TINY", 60.0)
    for number in range(20):
        one_step.enqueue(number)

    assert executions(is_needed=lambda: False) == 3
    assert Task.objects.filter(status="queued").count() == 17
    assert executions(is_needed=lambda: True) == 17


def test_a_worker_with_longer_tasks_is_always_needed(monkeypatch):
    monkeypatch.setattr(pace, "TINY", 0.0)
    for number in range(5):
        one_step.enqueue(number)

    assert executions(is_needed=lambda: False) == 5


def executions(*, is_needed: Callable[[], bool]) -> int:
    with InProcessWorker() as worker:
        return loop.run_until_idle(worker, budget=timedelta(minutes=1), stopping=lambda: False, is_needed=is_needed)


def test_tasks_are_claimed_in_the_order_of_the_queue():
    ids = [one_step.using(priority=number).enqueue(number).pk for number in (0, 30, 20, 10)]

    with InProcessWorker() as worker:
        leases = claim(ClaimRequest(worker.row.pk, most=8))

    assert [lease.task for lease in leases] == [ids[1], ids[2], ids[3], ids[0]]


def test_a_task_claimed_before_comes_alone_or_first():
    first, second, third = (one_step.enqueue(number) for number in range(3))
    Task.objects.filter(pk=second.pk).update(lease=1)

    with InProcessWorker() as worker:
        assert [lease.task for lease in claim(ClaimRequest(worker.row.pk, most=8))] == [first.pk, third.pk]
        assert [lease.task for lease in claim(ClaimRequest(worker.row.pk, most=8))] == [second.pk]


def test_a_poison_task_does_not_fail_prefetched_tasks():
    def killed():
        raise KeyboardInterrupt

    pipelines.during_step = killed
    innocent = [one_step.enqueue(number) for number in range(3)]
    poison = interrupted.enqueue()
    innocent += [one_step.enqueue(number) for number in range(6)]
    for _ in range(5):
        dead = InProcessWorker()
        with pytest.raises(KeyboardInterrupt):
            dead.work()
        dead.die()
        dispatch.run_due(5)
    work()

    assert Task.objects.get(pk=poison.pk).error["type"] == "Poison"
    assert Task.objects.filter(pk__in=[task.pk for task in innocent], status="succeeded").count() == len(innocent)
    assert Attempt.objects.exclude(task=poison).count() <= len(innocent)


def test_stale_prefetched_tasks_go_back_to_the_queue(monkeypatch):
    for number in range(4):
        one_step.enqueue(number)
    with InProcessWorker() as paused:
        leases = [
            replace(lease, claimed_at=lease.claimed_at - 60) for lease in claim(ClaimRequest(paused.row.pk, most=4))
        ]
        monkeypatch.setattr(first_claim, "claim", lambda _request: leases)

        outcomes = paused.work()

    assert outcomes[:4] == [Release()] * 4
    assert calls == ["one"] * 4
    assert set(Task.objects.values_list("lease", flat=True)) == {2}
