"""Pruning of and next to rollups, logs and bulk operations."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

import pytest
from django.db.models.functions import Now

from taskqueue import Retry, pipeline, step
from taskqueue.engine.maintenance import rollups
from taskqueue.ids import uuid7
from taskqueue.models import Attempt, BulkOperation, Rollup, RollupMark, Step, Task
from taskqueue.testing import advance, work
from tests.support.database.histories import prune
from tests.support.pipelines import basic as pipelines

pytestmark = pytest.mark.django_db


@step(retry=Retry.never())
def breaks_loudly() -> None:
    logging.getLogger("retention").warning("this is the last that was heard of it")
    raise ValueError("as announced")


@pipeline("retention/loud", keep=timedelta(minutes=5))
def loud() -> None:
    breaks_loudly()


def operation(status, **fields):
    return BulkOperation.objects.create(
        id=uuid7(),
        verb="retry",
        selection={},
        estimate=1,
        status=status,
        until=UUID(int=1),
        position=UUID(int=1),
        **fields,
    )


def test_old_finished_bulk_operations_are_pruned_and_unfinished_ones_stay():
    operation("done", finished_at=Now() - timedelta(days=31))
    operation("aborted", finished_at=Now() - timedelta(days=31))
    young = operation("done", finished_at=Now() - timedelta(days=29))
    still_open = operation("running", created_at=Now() - timedelta(days=40))

    prune()

    assert set(BulkOperation.objects.values_list("pk", flat=True)) == {young.pk, still_open.pk}


def test_bulk_operations_are_kept_for_ever_without_a_retention(settings):
    settings.TASKQUEUE = {"RETENTION": None}
    kept = operation("done", finished_at=Now() - timedelta(days=310))

    prune()

    assert BulkOperation.objects.filter(pk=kept.pk).exists()


def test_pruning_a_task_deletes_the_logs_of_its_attempts():
    task = loud.enqueue()
    Task.objects.filter(pk=task.pk).update(subject="shop.order:1")
    work()
    assert Attempt.objects.filter(task=task.pk, logs__isnull=False).exists()

    advance(minutes=6)
    prune()

    assert not Task.objects.exists()
    assert not Step.objects.exists()
    assert not Attempt.objects.exists()


def test_a_task_is_kept_until_it_is_rolled_up():
    task = loud.enqueue()
    work()
    advance(minutes=6)
    ended_at = Task.objects.get(pk=task.pk).finished_at
    assert ended_at is not None
    RollupMark.objects.update_or_create(
        pk=1, defaults={"final_until": ended_at - timedelta(minutes=1), "rolled_up_until": ended_at}
    )
    prune()
    assert Task.objects.filter(pk=task.pk).exists()

    rollups.roll_up()
    prune()

    assert not Task.objects.exists()
    assert Rollup.objects.get(span=1, pipeline="retention/loud").failed == 1


def test_a_bulk_operation_skips_pruned_tasks():
    """The operation's position and end are ids, also of tasks that are pruned."""
    for number in range(3):
        pipelines.one_step.enqueue(number)
    work()
    newest = Task.objects.latest("pk").pk
    meant = BulkOperation.objects.create(
        id=uuid7(), verb="rerun", selection={"statuses": ["succeeded"]}, estimate=3, status="planned", until=newest,
        position=UUID(int=0),
    )  # fmt: skip
    advance(days=31)
    prune()

    work()

    meant.refresh_from_db()
    assert (meant.status, meant.changed) == ("done", 0)
