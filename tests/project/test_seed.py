"""The command that fills a database for development."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test import override_settings

from taskqueue.admin.task.traceback import frame_groups
from taskqueue.engine.maintenance.rollups import roll_up_window
from taskqueue.models import Attempt, Pipeline, PipelineStep, Rollup, RollupMark, Step, Task, Worker
from taskqueue.states import TaskStatus
from taskqueue.testing import work

pytestmark = pytest.mark.django_db


def seed(**options: object) -> str:
    output = StringIO()
    call_command("seed", stdout=output, **options)
    return output.getvalue()


@override_settings(DEBUG=True)
def test_seed_creates_tasks_in_all_statuses(monkeypatch):
    monkeypatch.setattr("demo.seeding.CHUNK", 200)
    with connection.cursor() as cursor:
        cursor.execute("SELECT setseed(0.5)")  # some statuses are rare

    output = seed(tasks=600, steps=3)

    assert "600 tasks" in output
    assert Task.objects.count() == 600
    statuses = set(Task.objects.values_list("status", flat=True))
    assert statuses >= set(TaskStatus) - {TaskStatus.RUNNING}
    ids = list(Task.objects.order_by("created_at").values_list("pk", flat=True))
    assert [task.version for task in ids[:3]] == [7, 7, 7]
    assert sorted(ids, key=lambda each: each.int >> 80) == ids
    assert Step.objects.filter(task__status="succeeded").count() == 3 * Task.objects.filter(status="succeeded").count()
    assert Attempt.objects.filter(task__status="failed").values("task").distinct().count() == (
        Task.objects.filter(status="failed").count()
    )
    assert PipelineStep.objects.filter(pipeline__name="seed/crm-sync").count() == 3
    assert Pipeline.objects.get(name="seed/crm-sync").description.startswith("Example data")
    assert not Worker.objects.filter(ended_at=None).exists()
    assert_consistent_and_counted()


@override_settings(DEBUG=True)
def test_rows_seeded_into_a_running_service_are_consistent_and_counted():
    while roll_up_window():
        pass

    seed(tasks=500, steps=3)

    assert_consistent_and_counted()


def assert_consistent_and_counted() -> None:
    now = datetime.now(UTC)
    for model, fields in ((Task, ("created_at", "started_at", "finished_at")), (Step, ("started_at", "finished_at")),
                          (Attempt, ("started_at", "finished_at"))):  # fmt: skip
        assert not [field for field in fields if model.objects.filter(**{f"{field}__gt": now}).exists()]
    assert not Task.objects.filter(finished_at__lt=F("started_at")).exists()
    assert not Step.objects.filter(finished_at__gt=F("task__finished_at") + timedelta(seconds=1)).exists()
    tried = Attempt.objects.earliest("pk")
    assert [frame.function for run in frame_groups(tried.traceback) for frame in run.frames if frame.path] == [
        "process", "send"
    ]  # fmt: skip
    week = now - timedelta(days=8)
    days = Rollup.objects.filter(span=15, pipeline="", at__gte=week)
    counted = sum(row.succeeded + row.failed + row.cancelled for row in days)
    first = min(row.at for row in days)
    until = RollupMark.objects.get().rolled_up_until
    assert counted == Task.objects.filter(finished_at__gte=first, finished_at__lt=until).count()
    assert counted > 100


@override_settings(DEBUG=True)
def test_no_worker_claims_seeded_tasks():
    seed(tasks=200, steps=2)

    work()

    assert Task.objects.filter(status="queued").exists()


def test_seed_needs_force_without_debug():
    with pytest.raises(CommandError, match="DEBUG is off: this may be the database of a service"):
        seed(tasks=10)
    assert "Seeded" in seed(tasks=10, force=True)


@override_settings(DEBUG=True)
@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 9}, {"tasks": 0}])
def test_seed_refuses_impossible_numbers(options):
    with pytest.raises(CommandError, match="must be"):
        seed(**options)
