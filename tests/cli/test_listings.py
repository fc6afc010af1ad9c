"""The verbs pipelines, schedules, workers, drain and resume, over HTTP and inside the project."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib.admin.models import LogEntry

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

    assert row(listed, name)[1:5] == [str(worker.worker), "live", "0/1", "mail"]
    assert cli("workers", "--json").data == {"workers": []}


def test_workers_are_drained_and_resumed(cli):
    worker = Worker.objects.create(host="node-1", pid=7, cluster="c", version="1")

    drained = cli("drain", worker.pk, worker.pk)
    resumed = cli("resume", worker.pk, "--json")
    unknown = cli("drain", 77)

    assert (drained.code, drained.out) == (1, f"{worker.pk}  drained  node-1:7\n")
    assert "drains already" in drained.err
    assert (resumed.code, [each["state"] for each in resumed.data["workers"]]) == (0, ["live"])
    assert (unknown.code, unknown.out) == (3, "")
    entries = LogEntry.objects.order_by("pk")
    assert [(entry.user.get_username(), entry.get_change_message()) for entry in entries] == [
        (cli.actor, f"{verb}{cli.token}") for verb in ("Drained.", "Resumed.")
    ]
