"""POST /api/tasks/{id}/run-now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group

from taskqueue.models import PipelinePermission
from taskqueue.testing import work
from tests.support.api import enqueue_order, problem_of


@pytest.fixture
def scheduled(db: None):
    return enqueue_order("A1", run_at=datetime.now(UTC) + timedelta(hours=1))


def test_a_scheduled_task_is_due_now(api, scheduled):
    response = api.post(f"/api/tasks/{scheduled.pk}/run-now")
    work()

    assert (response.status_code, response.json()["status"]) == (200, "queued")
    assert api.get(f"/api/tasks/{scheduled.pk}").json()["status"] == "succeeded"


@pytest.mark.parametrize("state", ["queued", "succeeded", "failed"])
def test_a_task_without_a_delay_is_refused(api, request, state):
    task = request.getfixturevalue(state)

    response = api.post(f"/api/tasks/{task.pk}/run-now")

    assert problem_of(response) == (409, "task-not-delayed", [])
    assert f"The task {'has' if state == 'succeeded' else 'is'} {state}" in response.json()["detail"]


def test_run_now_needs_the_pipelines_retry_permission_too(caller_with, anonymous, scheduled):
    address = f"/api/tasks/{scheduled.pk}/run-now"
    caller = caller_with("view_task", "retry_task")

    assert anonymous.post(address).status_code == 401
    PipelinePermission.objects.create(pipeline_id="shop/order", group=Group.objects.create(name="others"), retry=True)
    assert problem_of(caller.post(address)) == (403, "not-permitted", [])
    PipelinePermission.objects.all().delete()
    assert caller.post(address).status_code == 200


def test_run_now_needs_retry_task(caller_with, scheduled):
    response = caller_with("view_task", "cancel_task").post(f"/api/tasks/{scheduled.pk}/run-now")

    assert problem_of(response) == (403, "not-allowed", [])
