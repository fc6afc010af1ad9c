"""Pruning runs in small batches at a limited pace, and validates its options and settings."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models import F
from django.db.models.functions import Now

from taskqueue import conf
from taskqueue.authoring.options import policies_of
from taskqueue.engine.maintenance import retention
from taskqueue.errors import DefinitionError
from taskqueue.models import Pipeline, Pruning, Task
from taskqueue.models.pruning import NO_PIPELINE, PACE_LOCK
from tests.support.database.histories import history, prune

pytestmark = pytest.mark.django_db


def test_a_batch_is_bounded_and_the_pace_is_shared(settings):
    settings.TASKQUEUE = {"PRUNE_PER_SECOND": 100}
    history(450)
    Pruning.objects.filter(name="engine/one-step").update(due_at=Now())
    Pruning.objects.filter(name=PACE_LOCK).update(due_at=Now())

    retention.prune_some()

    assert Task.objects.count() == 350
    retention.prune_some()
    assert Task.objects.count() == 350  # a hundred a second
    Pruning.objects.filter(name=PACE_LOCK).update(due_at=F("due_at") - timedelta(seconds=1))
    retention.prune_some()
    assert Task.objects.count() == 250


def test_a_batch_is_bounded_by_steps_too():
    history(10, steps=1500)

    batch = retention.prune_batch("engine/one-step", timedelta(days=30))

    assert batch.tasks == 2
    assert not batch.is_last


def test_pruning_pauses_for_an_hour_when_nothing_is_left():
    history(120)
    prune()

    assert not Task.objects.exists()
    row = Pruning.objects.get(name="engine/one-step")
    assert row.total == 120
    assert row.pruned_at is not None
    Pruning.objects.filter(name=PACE_LOCK).update(due_at=Now())
    retention.prune_some()
    assert Pruning.objects.filter(due_at__gt=Now() + timedelta(minutes=50)).count() == Pruning.objects.count()


def test_a_pipeline_without_code_is_pruned():
    Pipeline.objects.create(name="retention/gone")
    history(5, pipeline="retention/gone")
    Pruning.objects.filter(name__in=[PACE_LOCK, NO_PIPELINE]).update(due_at=Now())
    retention.prune_some()
    assert Pruning.objects.filter(name="retention/gone").exists()

    prune()

    assert not Task.objects.exists()


def test_a_count_changes_nothing_and_equals_the_pruning():
    history(1200)
    history(10, days=3)

    counted = sum(batch.tasks for batch in retention.count_all("engine/one-step", timedelta(days=30)))

    assert Task.objects.count() == 1210
    assert counted == sum(batch.tasks for batch in retention.prune_all("engine/one-step", timedelta(days=30)))
    assert Task.objects.count() == 10


@pytest.mark.parametrize("keep", [timedelta(0), timedelta(seconds=59), timedelta(days=40_000), 7, "7d", True])
def test_an_invalid_retention_is_refused_at_the_definition(keep):
    with pytest.raises(DefinitionError, match=r"keep[ =]"):
        policies_of("retention/odd", {"keep": keep})


@pytest.mark.parametrize(
    "given",
    [{"RETENTION": timedelta(0)}, {"RETENTION": "30 days"}, {"PRUNE_PER_SECOND": 0}, {"PRUNE_PER_SECOND": None}],
)
def test_invalid_settings_are_refused(settings, given):
    settings.TASKQUEUE = given

    with pytest.raises(ImproperlyConfigured, match=next(iter(given))):
        conf.settings()
