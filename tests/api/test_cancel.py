"""POST /api/tasks/{id}/cancel."""

from __future__ import annotations

import pytest

from taskqueue.testing import work
from tests.support.api import problem_of


def test_a_queued_task_is_cancelled_and_never_executed(api, queued):
    response = api.post(f"/api/tasks/{queued.pk}/cancel")
    work()

    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert api.get(f"/api/tasks/{queued.pk}").json()["steps"] == []


def test_a_cancelled_task_can_be_retried(api, queued):
    api.post(f"/api/tasks/{queued.pk}/cancel")

    assert api.post(f"/api/tasks/{queued.pk}/retry").json()["status"] == "queued"


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_an_ended_task_is_not_cancelled(api, request, state):
    task = request.getfixturevalue(state)

    assert problem_of(api.post(f"/api/tasks/{task.pk}/cancel")) == (409, "task-not-cancellable", [])
