"""Pruning beside others, each on a connection of its own: nobody waits, and each row goes once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now

from taskqueue.engine.maintenance import retention
from taskqueue.engine.tasks import control
from taskqueue.errors import TaskNotFound
from taskqueue.models import Pruning, Step, Task
from taskqueue.models.pruning import TURN
from tests.support.database.histories import history
from tests.support.database.races import Held, at_once
from tests.support.moves import arranging
from tests.support.pipelines import basic as pipelines  # noqa: F401 - registers them

pytestmark = pytest.mark.django_db(transaction=True)

KEEP = timedelta(days=30)
NAME = "engine/one-step"


def prune_a_batch():
    with transaction.atomic():
        return retention.prune_batch(NAME, KEEP)


def test_two_who_prune_at_once_take_different_tasks():
    history(200)
    first = Held(lambda: retention.prune_batch(NAME, KEEP))

    second = prune_a_batch()

    assert (first.end().tasks, second.tasks) == (100, 100)
    assert not Task.objects.exists()
    assert not Step.objects.exists()


def test_two_who_prune_everything_prune_each_task_once():
    history(1200)

    counted = at_once(2, lambda: sum(batch.tasks for batch in retention.prune_all(NAME, KEEP)))

    assert sum(counted) == 1200
    assert not Task.objects.exists()
    assert Pruning.objects.get(pk=NAME).total == 1200


def test_of_two_clusters_one_has_the_turn_and_the_other_does_not_wait():
    history(300)
    Pruning.objects.filter(name__in=[TURN, NAME]).update(due_at=Now())
    turn = Held(lambda: Pruning.objects.select_for_update().get(pk=TURN))

    retention.prune_some()

    assert Task.objects.count() == 300
    turn.end()
    retention.prune_some()
    assert Task.objects.count() < 300


def test_a_task_that_a_person_retries_at_this_moment_is_passed_over():
    history(2)
    chosen = Task.objects.order_by("pk")[0].pk
    with arranging():
        Task.objects.filter(pk=chosen).update(status="failed", error={"type": "E", "message": ""})
    retry = Held(lambda: control.retry(chosen))

    batch = prune_a_batch()

    assert batch.tasks == 1
    retry.end()
    assert Task.objects.get().status == "queued"


def test_a_rerun_that_comes_too_late_finds_no_task():
    history(1)
    chosen = Task.objects.get().pk
    pruning = Held(lambda: retention.prune_batch(NAME, KEEP))
    pruning.end()

    with pytest.raises(TaskNotFound):
        control.rerun(chosen)
