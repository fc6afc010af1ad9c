"""Skipped requests are listed at tasks, pipelines and events."""

from __future__ import annotations

from datetime import UTC, datetime

from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.models import Schedule, Skip


def asked(key=""):
    return enqueue("shop/order", {"number": "A1"}, options=Options(key=key))


def test_a_task_lists_skipped_requests(api):
    task = asked("k")
    asked("k")

    (skip,) = api.get(f"/api/tasks/{task.pk}").json()["skips"]

    assert (skip["kind"], skip["key"], skip["task"], skip["event"]) == ("duplicate", "k", str(task.pk), None)
    assert skip["reason"] == f"The key already belongs to task {task.pk}."
    assert skip["created_at"].endswith("Z")


def test_a_pipeline_lists_its_latest_twenty_skips(api):
    task = asked("k")
    for _ in range(25):
        asked("k")

    body = api.get("/api/pipelines/shop/order").json()

    assert len(body["skips"]) == 20
    assert body["skips"][0]["task"] == str(task.pk)
    newest = Skip.objects.latest("pk").created_at
    assert datetime.fromisoformat(body["skips"][0]["created_at"]) == newest


def test_a_pipeline_has_its_schedule(api):
    assert api.get("/api/pipelines/shop/order").json()["schedule"] is None
    Schedule.objects.create(
        pipeline_id="shop/order",
        expression="0 3 * * *",
        timezone="Europe/Berlin",
        misfire="once",
        next_at=datetime(2030, 1, 1, 2, tzinfo=UTC),
    )

    assert api.get("/api/pipelines/shop/order").json()["schedule"] == {
        "expression": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "misfire": "once",
        "next_at": "2030-01-01T02:00:00Z",
        "last_at": None,
    }
