"""POST /api/pipelines/{name}/pause and /resume."""

from __future__ import annotations

import pytest

from taskqueue.models import Pipeline
from tests.support.api import problem_of

PAUSE, RESUME = "/api/pipelines/shop/order/pause", "/api/pipelines/shop/order/resume"


def test_a_pause_has_time_user_and_reason_until_resume(api):
    answer = api.post(PAUSE, {"reason": "stocktaking"})

    assert (answer.status_code, answer.json()["paused"]["reason"]) == (200, "stocktaking")
    assert api.get("/api/pipelines/shop/order").json()["paused"] == answer.json()["paused"]
    assert api.post(RESUME).json()["paused"] is None


def test_pausing_twice_or_resuming_twice_is_a_conflict(api):
    assert problem_of(api.post(RESUME)) == (409, "pipeline-not-paused", [])
    api.post(PAUSE, {"reason": "x"})
    assert problem_of(api.post(PAUSE, {"reason": "y"})) == (409, "pipeline-already-paused", [])


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x", "more": 1}, {"reason": 7}])
def test_a_pause_needs_a_reason_and_nothing_else(api, body):
    status, code, _pointers = problem_of(api.post(PAUSE, body))

    assert (status, code) == (422, "invalid-body")
    assert not Pipeline.objects.filter(paused_at__isnull=False).exists()


def test_a_pipeline_whose_name_ends_in_pause_can_be_read(api):
    assert problem_of(api.post("/api/pipelines/no/such/pause", {"reason": "x"}))[0] == 404
    Pipeline.objects.create(name="shop/pause")
    assert api.get("/api/pipelines/shop/pause").json()["name"] == "shop/pause"


def test_pausing_needs_pause_pipeline(caller_with):
    caller = caller_with("view_pipeline")
    Pipeline.objects.update_or_create(name="shop/order")

    assert caller.post(PAUSE, {"reason": "x"}).status_code == 403
