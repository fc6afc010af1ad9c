"""`manage.py prune` counts or deletes, and says how much."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from taskqueue.models import Pipeline, Pruning, Task
from tests.support.database.histories import history

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _history():
    Pipeline.objects.create(name="history/for-ever", keep_for_ever=True)
    history(130, steps=2)
    history(20, days=3)
    history(40, pipeline="history/for-ever")


def prune(*args):
    out = StringIO()
    call_command("prune", *args, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_dry_run_counts_and_deletes_nothing():
    assert "130 tasks would be pruned." in prune("--dry-run")
    assert Task.objects.count() == 190


def test_it_prunes_by_each_pipelines_retention():
    said = prune()

    assert "engine/one-step: 130 tasks that ended more than 30 days ago pruned, 390 rows" in said
    assert "history/for-ever: kept for ever" in said
    assert "130 tasks pruned" in said
    assert Task.objects.count() == 60
    assert Pruning.objects.get(pk="engine/one-step").total == 130


def test_an_age_option_spares_pipelines_that_keep_for_ever():
    assert "150 tasks pruned" in prune("--older-than", "2d")
    assert Task.objects.count() == 40


def test_a_named_pipeline_is_pruned_even_if_kept_for_ever():
    assert "40 tasks pruned" in prune("--older-than", "30d", "--pipeline", "history/for-ever")
    assert Task.objects.count() == 150


@pytest.mark.parametrize("text", ["0d", "-1d", "30", "d", "1y", "\uff11d", "99999999d"])
def test_an_invalid_age_is_refused(text):
    with pytest.raises(CommandError):
        prune("--older-than", text)


def test_an_unknown_pipeline_is_refused():
    assert not Pipeline.objects.filter(pk="nope").exists()
    with pytest.raises(CommandError, match="No pipeline is called 'nope'"):
        prune("--pipeline", "nope")
