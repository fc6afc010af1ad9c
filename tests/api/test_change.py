"""PATCH /api/tasks/{id}, and `callback_url` in answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import LogEntry

from taskqueue.models import Task
from taskqueue.webhooks.signatures import new_secret
from tests.support.api import BODY, grant, problem_of

LATER = "2035-01-31T08:00:00Z"


def test_a_queued_task_changes(api, queued):
    response = api.patch(f"/api/tasks/{queued.pk}", {"priority": 7.0, "run_at": LATER, "labels": {"tenant": "acme"}})

    task = Task.objects.get()
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["priority"], response.json()["next_run_at"]) == (
        "scheduled", 7, LATER,
    )  # fmt: skip
    assert (task.labels, task.due_at) == ({"tenant": "acme"}, datetime(2035, 1, 31, 8, tzinfo=UTC))


def test_what_the_body_leaves_out_stays(api, queued):
    api.patch(f"/api/tasks/{queued.pk}", {"priority": 7, "labels": {"a": "b"}})

    assert api.patch(f"/api/tasks/{queued.pk}", {"priority": None}).status_code == 200
    assert api.patch(f"/api/tasks/{queued.pk}", {}).json()["labels"] == {"a": "b"}
    assert Task.objects.get().priority == 7


@pytest.mark.parametrize(
    ("state", "body"), [("failed", {"priority": 1}), ("succeeded", {"labels": {}}), ("failed", {"run_at": LATER})]
)
def test_an_ended_task_is_refused_with_its_status(api, request, state, body):
    task = request.getfixturevalue(state)

    response = api.patch(f"/api/tasks/{task.pk}", body)

    assert problem_of(response) == (409, "task-not-changeable", [])
    assert f"The task is {state}: it has ended" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"priority": 601}, "/priority"),
        ({"priority": "7"}, "/priority"),
        ({"run_at": "tomorrow"}, "/run_at"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"labels": {"a": "\0"}}, "/labels/a"),
        ({"status": "queued"}, "/status"),
    ],
)
def test_invalid_values_have_a_pointer(api, queued, body, pointer):
    assert problem_of(api.patch(f"/api/tasks/{queued.pk}", body))[::2] == (422, [pointer])


def test_a_change_needs_retry_task_and_the_pipelines_grant(caller_with, anonymous, queued):
    address, body = f"/api/tasks/{queued.pk}", {"priority": 1}
    assert anonymous.patch(address, body).status_code == 401
    caller = caller_with("view_task", "retry_task")
    permission = grant(retry=True)

    assert problem_of(caller.patch(address, body)) == (403, "not-permitted", [])
    permission.delete()
    assert caller.patch(address, body).status_code == 200
    assert LogEntry.objects.get().get_change_message() == "Changed priority from 0 to 1."


def test_without_retry_task_a_change_is_refused(caller_with, queued):
    response = caller_with("view_task", "add_task", "cancel_task").patch(f"/api/tasks/{queued.pk}", {"priority": 1})

    assert problem_of(response) == (403, "not-allowed", [])
    assert "taskqueue.retry_task" in response.json()["detail"]


@pytest.fixture
def address(settings) -> str:
    settings.TASKQUEUE = {**getattr(settings, "TASKQUEUE", {}), "WEBHOOKS_SECRET": new_secret()}
    return "https://example.com/ended?token=1"


def test_answers_have_the_callback_url(api, address):
    task = api.post("/api/tasks", {**BODY, "callback_url": address}).json()
    batch = api.post("/api/tasks/batch", {"tasks": [{**BODY, "callback_url": address}]}).json()["tasks"]
    plain = api.post("/api/tasks", BODY).json()

    assert task["callback_url"] == batch[0]["callback_url"] == address
    assert plain["callback_url"] == ""
    assert api.get(f"/api/tasks/{task['id']}").json()["callback_url"] == address
    assert [each["callback_url"] for each in api.get("/api/tasks").json()["tasks"]] == ["", address, address]


def test_a_caller_without_view_task_does_not_see_anothers_callback_url(api, caller_with, address, settings):
    api.post("/api/tasks", {**BODY, "key": "A1", "callback_url": address})
    settings.DEBUG = False

    found = caller_with("add_task").post("/api/tasks", {**BODY, "key": "A1"}).json()

    assert (found["duplicate"], found["callback_url"]) == (True, "")
