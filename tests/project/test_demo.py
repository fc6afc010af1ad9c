"""The demo: its second pipeline goes each of its ways, and the command tells a story with each task."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from demo import ports
from demo.pipelines import DemoRequest, demo_task
from demo.publishing import PublishRequest, publish
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.events import send as event_sending
from taskqueue.engine.events.route import route
from taskqueue.engine.events.send import send
from taskqueue.models import ConcurrencyLimit, Event, RateLimitBucket, Task
from taskqueue.testing import advance, run_inline, work

pytestmark = pytest.mark.django_db

REQUEST = PublishRequest(title="On waiting", pages=3)
APPROVED = ("demo/approved", {"title": "On waiting", "by": "dana"})


def test_an_approved_article_is_typeset_printed_by_a_child_and_announced():
    run = run_inline(publish, REQUEST, events=[APPROVED])

    assert run.result.reason == "approved by dana"
    assert run.result.pages == [f"ON WAITING, PAGE {number}" for number in (1, 2, 3)]
    assert run.result.copies == 300
    assert Task.objects.get(pipeline="demo/print").parent == run.task
    assert Event.objects.get(name="demo/published").data == {"title": "On waiting", "copies": 300}


def test_an_article_without_approval_frees_its_shelf():
    run = run_inline(publish, REQUEST, events=[("demo/approved", {"title": "On waiting", "approved": False})])

    assert run.result.reason == "declined by an editor"
    assert "release_shelf" in {key.replace("-", "_") for key in run.steps}


def test_without_approval_the_wait_times_out():
    run = run_inline(publish, REQUEST, events=[("demo/approved", None)])

    assert run.result.reason == "it was not approved in time"
    assert run.slept.total_seconds() > 600


def test_a_jam_fails_the_task_and_frees_its_shelf():
    run = run_inline(publish, REQUEST.model_copy(update={"printer_jams": True}), events=[APPROVED])

    assert run.status == "failed"
    assert "the press is jammed" in str(run.error)
    assert "release_shelf" in {key.replace("-", "_") for key in run.steps}


def test_both_pipelines_share_a_rate_and_have_their_limits():
    sync_pipelines()

    assert ConcurrencyLimit.objects.get(pipeline="demo/task").declared_tasks == 10
    assert ConcurrencyLimit.objects.get(pipeline="demo/publish").declared_tasks == 5
    demo_task.enqueue(DemoRequest(label="x", delay_seconds=0))
    publish.enqueue(REQUEST)
    work()
    assert set(RateLimitBucket.objects.values_list("rate_id", flat=True)) == {"demo-api"}


def requested(**data: Any) -> Any:
    event = send("demo/task.requested", data)
    route(event.pk)
    return event_sending.find(event.pk)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"taskId": "t-1", "delaySeconds": 0}, "succeeded"),
        ({"taskId": "t-1", "simulateFailure": True, "failAtStep": "simulate-processing"}, "failed"),
        ({"task_id": "t-1", "simulate_failure": True, "fail_at_step": "simulate-processing"}, "failed"),
    ],
)
def test_an_event_starts_the_demo_and_completion_emits_one(data, status):
    sync_pipelines()

    (task,) = requested(**data).started_tasks
    work()

    task.refresh_from_db()
    assert (task.status, task.key) == (status, "t-1")
    ending = Event.objects.get(source=task)
    assert ending.name == f"demo/task.{'completed' if status == 'succeeded' else 'failed'}"


def test_an_event_with_a_known_task_id_starts_nothing_for_a_day_unless_it_forces():
    sync_pipelines()
    (first,) = requested(taskId="t-1").started_tasks

    for data in ({"taskId": "t-1"}, {"task_id": "t-1"}, {"taskId": "t-1", "simulateFailure": True}):
        again = requested(**data)
        assert again.started_tasks == []
        assert [(skip.kind, skip.task_id) for skip in again.skipped] == [("duplicate", first.pk)]
    (forced,) = requested(taskId="t-1", force=True).started_tasks
    assert "force" not in Task.objects.get(pk=forced.pk).payload
    assert requested(taskId="t-1").started_tasks == []

    advance(hours=25)
    assert len(requested(taskId="t-1").started_tasks) == 1


def test_events_without_a_task_id_are_not_deduplicated():
    sync_pipelines()

    assert [len(requested(label="x").started_tasks) for _ in range(2)] == [1, 1]


def test_the_command_prints_links_to_the_port_in_use(monkeypatch, tmp_path):
    sync_pipelines()
    monkeypatch.setattr(ports, "port_file", lambda: tmp_path / "port")
    (tmp_path / "port").write_text("8123")
    out = StringIO()

    call_command("demo", stdout=out)
    assert out.getvalue().count("http://127.0.0.1:8123/api/tasks/") == 10

    call_command("demo", base_url="https://tasks.example.com/", stdout=out)
    assert out.getvalue().count("https://tasks.example.com/api/tasks/") == 10


def test_the_demo_command_describes_each_task(monkeypatch):
    sync_pipelines()
    monkeypatch.setattr(ports, "port_file", lambda: None)
    out = StringIO()

    call_command("demo", stdout=out)

    output = out.getvalue()
    assert output.count("  API    http://127.0.0.1:8000/api/tasks/") == 10
    assert "event demo/approved with" in output
    assert Task.objects.filter(pipeline="demo/publish").count() == 2
    assert Event.objects.filter(name="demo/approved").count() == 1
