"""Concurrent pruning: no transaction waits, and each row is deleted once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now

from taskqueue.engine.maintenance import retention
from taskqueue.engine.tasks import control
from taskqueue.errors import TaskNotFound
from taskqueue.models import Pruning, Step, Task
from taskqueue.models.pruning import PACE_LOCK
from tests.support.database.histories import history
from tests.support.database.races import OpenTransaction, run_concurrently
from tests.support.moves import arranging
from tests.support.pipelines import basic as pipelines  # noqa: F401 - registers them

pytestmark = pytest.mark.django_db(transaction=True)

KEEP = timedelta(days=30)
NAME = "engine/one-step"


def prune_a_batch():
    with transaction.atomic():
        return retention.prune_batch(NAME, KEEP)


def test_concurrent_prunings_delete_different_tasks():
    history(200)
    first = OpenTransaction(lambda: retention.prune_batch(NAME, KEEP))

    second = prune_a_batch()

    assert (first.end().tasks, second.tasks) == (100, 100)
    assert not Task.objects.exists()
    assert not Step.objects.exists()


def test_concurrent_commands_prune_each_task_once():
    history(1200)

    counted = run_concurrently(2, lambda: sum(batch.tasks for batch in retention.prune_all(NAME, KEEP)))

    assert sum(counted) == 1200
    assert not Task.objects.exists()
    assert Pruning.objects.get(pk=NAME).total == 1200


def test_one_cluster_prunes_and_the_other_does_not_wait():
    history(300)
    Pruning.objects.filter(name__in=[PACE_LOCK, NAME]).update(due_at=Now())
    turn = OpenTransaction(lambda: Pruning.objects.select_for_update().get(pk=PACE_LOCK))

    retention.prune_some()

    assert Task.objects.count() == 300
    turn.end()
    retention.prune_some()
    assert Task.objects.count() < 300


def test_a_task_that_is_being_retried_is_not_pruned():
    history(2)
    chosen = Task.objects.order_by("pk")[0].pk
    with arranging():
        Task.objects.filter(pk=chosen).update(status="failed", error={"type": "E", "message": ""})
    retry = OpenTransaction(lambda: control.retry(chosen))

    batch = prune_a_batch()

    assert batch.tasks == 1
    retry.end()
    assert Task.objects.get().status == "queued"


def test_a_rerun_after_pruning_finds_no_task():
    history(1)
    chosen = Task.objects.get().pk
    pruning = OpenTransaction(lambda: retention.prune_batch(NAME, KEEP))
    pruning.end()

    with pytest.raises(TaskNotFound):
        control.rerun(chosen)
