"""A payload that no longer fits the pipeline's model after a deploy: it is shown, and each verb says what is wrong."""

from __future__ import annotations

import pytest

from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.api import problem_of

OLD = [{"colour": "red"}, {"number": "", "quantity": 0}, [], "text", 5, {"number": {"a": [1]}}]


@pytest.fixture(params=OLD, ids=str)
def outdated(request, queued):
    """A task whose payload other code has accepted."""
    Task.objects.filter(pk=queued.pk).update(payload=request.param)
    return queued, request.param


def test_it_fails_for_a_reason_that_is_told_and_can_be_retried(api, outdated):
    task, payload = outdated
    Task.objects.filter(pk=task.pk).update(failures=5)  # the last try of the body
    work()

    found = api.get(f"/api/tasks/{task.pk}").json()

    assert found["status"] == "failed"
    assert found["payload"] == payload
    assert found["error"]["type"] == "ValidationError"
    assert "Order" in found["error"]["message"]
    assert api.get(f"/api/tasks/{task.pk}/status").json()["error"]["message"]
    assert api.get("/api/tasks").status_code == 200
    assert api.post(f"/api/tasks/{task.pk}/retry").status_code == 200


def test_a_rerun_points_at_what_no_longer_fits(api, outdated):
    task, _payload = outdated

    status, code, pointers = problem_of(api.post(f"/api/tasks/{task.pk}/rerun"))

    assert (status, code) == (409, "invalid-payload")
    assert all(pointer.startswith("/payload") for pointer in pointers)
