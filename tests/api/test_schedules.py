"""GET /api/schedules."""

from __future__ import annotations

from datetime import UTC, datetime

from taskqueue.models import Pipeline, Schedule


def add_schedule(pipeline: str, hour: int) -> None:
    next_at = datetime(2030, 1, 1, hour, tzinfo=UTC)
    Schedule.objects.create(
        pipeline_id=pipeline, expression=f"0 {hour} * * *", timezone="UTC", misfire="once", next_at=next_at
    )


def test_schedules_are_listed_by_their_next_run(api):
    Schedule.objects.all().delete()
    add_schedule("shop/order", 5)
    add_schedule("anything", 4)
    Pipeline.objects.filter(pk="anything").update(paused_at=datetime(2026, 1, 1, tzinfo=UTC))

    first, second = api.get("/api/schedules").json()["schedules"]

    assert (first["pipeline"], first["paused"], second["pipeline"], second["paused"]) == (
        "anything",
        True,
        "shop/order",
        False,
    )
    assert first == {
        "pipeline": "anything",
        "paused": True,
        "expression": "0 4 * * *",
        "timezone": "UTC",
        "misfire": "once",
        "next_at": "2030-01-01T04:00:00Z",
        "last_at": None,
    }
