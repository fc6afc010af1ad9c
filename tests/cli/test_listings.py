"""The verbs pipelines, schedules and workers, over HTTP and inside the project."""

from __future__ import annotations

from datetime import UTC, datetime

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.tasks import control
from taskqueue.models import Schedule, Worker
from taskqueue.testing import InProcessWorker


def row(table: str, name: str) -> list[str]:
    return next(line.split() for line in table.splitlines() if line.startswith(name))


def test_pipelines_have_their_numbers_and_state(cli, queued):
    control.pause_pipeline("shop/order", reason="Audit", actor=Actor(None, "kim"))

    assert row(cli("pipelines").out, "shop/order")[:4] == ["shop/order", "default", "paused", "1"]
    assert "shop/order" in [each["name"] for each in cli("pipelines", "--json").data["pipelines"]]


def test_one_pipeline_has_its_steps_and_an_example(cli, queued):
    shown = cli("pipelines", "shop/order").out

    assert "charge, ship" in shown
    assert "1 queued" in shown
    assert '{"number": "A1"' in shown
    assert cli("pipelines", "shop/order", "--json").data["name"] == "shop/order"


def test_schedules_are_listed(cli):
    Schedule.objects.all().delete()
    assert "No pipeline has a schedule." in cli("schedules").err
    Schedule.objects.create(
        pipeline_id="anything",
        expression="0 4 * * *",
        timezone="UTC",
        misfire="once",
        next_at=datetime(2030, 1, 1, 4, tzinfo=UTC),
    )

    assert row(cli("schedules").out, "anything")[:7] == ["anything", "active", "0", "4", "*", "*", "*"]
    assert cli("schedules", "--json").data["schedules"][0]["next_at"] == "2030-01-01T04:00:00Z"


def test_workers_are_listed(cli):
    assert "No worker is running." in cli("workers").err
    with InProcessWorker(queues="mail") as worker:
        listed = cli("workers").out
        name = str(Worker.objects.get(pk=worker.worker))

    assert row(listed, name)[1:4] == ["live", "0/1", "mail"]
    assert cli("workers", "--json").data == {"workers": []}
