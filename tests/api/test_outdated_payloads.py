"""A payload that the pipeline's model refuses after a deploy."""

from __future__ import annotations

import pytest

from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.api import problem_of

OLD = [{"colour": "red"}, {"number": "", "quantity": 0}, [], "text", 5, {"number": {"a": [1]}}]


@pytest.fixture(params=OLD, ids=str)
def outdated(request, queued):
    """A task with a payload that older code accepted."""
    Task.objects.filter(pk=queued.pk).update(payload=request.param)
    return queued, request.param


def test_an_outdated_payload_fails_the_task_with_the_reason(api, outdated):
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


def test_a_rerun_with_an_outdated_payload_has_pointers(api, outdated):
    task, _payload = outdated

    status, code, pointers = problem_of(api.post(f"/api/tasks/{task.pk}/rerun"))

    assert (status, code) == (409, "invalid-payload")
    assert all(pointer.startswith("/payload") for pointer in pointers)
