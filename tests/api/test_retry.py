"""POST /api/tasks/{id}/retry."""

from __future__ import annotations

import pytest

from taskqueue.models import Step
from taskqueue.testing import work
from tests.support.api import problem_of


def test_a_retried_task_continues_at_the_failed_step(api, failed):
    charged = Step.objects.get(task=failed, key="charge")

    response = api.post(f"/api/tasks/{failed.pk}/retry")
    work()

    assert (response.status_code, response.json()["status"], response.json()["error"]) == (200, "queued", None)
    assert response.json()["retried_at"]
    assert api.get(f"/api/tasks/{failed.pk}").json()["status"] == "succeeded"
    assert Step.objects.get(task=failed, key="charge").pk == charged.pk


def test_from_step_runs_that_step_and_later_ones_again(api, succeeded):
    charged = Step.objects.get(task=succeeded, key="charge")

    response = api.post(f"/api/tasks/{succeeded.pk}/retry", {"from_step": "charge"})
    work()

    assert response.status_code == 200
    assert Step.objects.get(task=succeeded, key="charge").pk != charged.pk


def test_an_unknown_from_step_has_a_pointer(api, failed):
    response = api.post(f"/api/tasks/{failed.pk}/retry", {"from_step": "wrap"})

    assert problem_of(response) == (422, "unknown-step", ["/from_step"])
    assert "charge, ship" in response.json()["detail"]


@pytest.mark.parametrize("body", [{"from_step": ""}, {"from_step": 5}])
def test_from_step_must_be_text(api, failed, body):
    assert problem_of(api.post(f"/api/tasks/{failed.pk}/retry", body)) == (422, "invalid-body", ["/from_step"])


def test_from_step_may_be_null(api, failed):
    assert api.post(f"/api/tasks/{failed.pk}/retry", {"from_step": None}).status_code == 200


@pytest.mark.parametrize("state", ["queued", "succeeded"])
def test_a_task_in_the_wrong_state_is_not_retried(api, request, state):
    task = request.getfixturevalue(state)

    assert problem_of(api.post(f"/api/tasks/{task.pk}/retry")) == (409, "task-not-retryable", [])
