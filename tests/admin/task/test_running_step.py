"""The page of a running task: log, progress and stack of its current step."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now

from demo.pipelines import DemoRequest, demo_task
from taskqueue.models import PipelinePermission, StepReport, Task, Worker
from tests.support.admin_pages import page_of, text_of

STACK = '  File "/shop/pay.py", line 12, in charge\n    bank.ask(card)\n'


@pytest.fixture
def running() -> Task:
    task = demo_task.enqueue(DemoRequest(label="slow"))
    worker = Worker.objects.create(
        host="here", pid=1, cluster="1", version="1", task_id=task.pk, step="simulate-processing", step_started_at=Now()
    )
    Task.objects.filter(pk=task.pk).update(
        status="running", worker=worker, lease=1, started_at=Now(), progress=0.4, progress_note="page 4 of 10"
    )
    StepReport.objects.create(
        worker=worker, task_id=task.pk, lease=1, step="simulate-processing", stack=STACK,
        logs={"dropped": 0, "lines": [[1500, "WARNING", "shop", "the bank is slow"]]},
    )  # fmt: skip
    return Task.objects.get(pk=task.pk)


@pytest.fixture
def reader(viewer):
    may = Permission.objects.get(codename="view_task_payload")
    User.objects.get(username="vera").user_permissions.add(may)
    return viewer


def test_a_running_step_shows_log_progress_and_stack(reader, running):
    text = text_of(reader.get(page_of(running)))

    assert "Running now 40 %: page 4 of 10 +1.5s WARNING shop the bank is slow" in text
    assert "shop/pay.py:12 in charge" in text


@pytest.mark.parametrize("change", [{"lease": 2}, {"worker": None, "status": "queued"}])
def test_the_report_of_an_earlier_attempt_is_not_shown(reader, running, change):
    Task.objects.filter(pk=running.pk).update(**change)

    assert "the bank is slow" not in text_of(reader.get(page_of(running)))


def test_the_report_of_another_step_is_not_shown(reader, running):
    Worker.objects.update(step="simulate-api-call")

    assert "the bank is slow" not in text_of(reader.get(page_of(running)))


def test_log_lines_are_masked_without_payload_permission(viewer, running):
    PipelinePermission.objects.create(
        pipeline_id="demo/task", user=User.objects.create_user("other"), view_payload=True
    )

    text = text_of(viewer.get(page_of(running)))

    assert "the bank is slow" not in text
    assert "shop/pay.py:12 in charge" in text
