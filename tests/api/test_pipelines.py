"""GET /api/pipelines and GET /api/pipelines/{name}."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.testing import work
from tests.support.api import enqueue_order, problem_of, roll_up_ended
from tests.support.pipelines import orders as pipelines


def test_pipelines_are_listed_by_name_before_they_ever_ran(api):
    names = [pipeline["name"] for pipeline in api.get("/api/pipelines").json()["pipelines"]]

    assert names == sorted(names)
    assert {"anything", "demo/task", "shop/order"} <= set(names)


@pytest.mark.parametrize("name", ["demo/task", "demo%2Ftask"])
def test_a_pipeline_has_schemas_steps_and_policies(api, name):
    body = api.get(f"/api/pipelines/{name}").json()

    assert body["name"] == "demo/task"
    assert body["payload_schema"]["properties"]["label"]["default"] == "demo"
    assert body["payload_example"]["label"] == "hello"
    assert "api_status" in body["result_schema"]["properties"]
    assert [step["name"] for step in body["steps"]] == [
        "simulate-processing", "simulate-delay", "simulate-api-call", "demonstrate-retry", "return-result",
    ]  # fmt: skip
    assert [(step["timeout"], step["atomic"]) for step in body["steps"][1:3]] == [(90, False), (30, False)]
    assert body["steps"][0]["retry_waits"] == [1, 2, 4, 8]


def test_a_pipeline_has_its_queue(api):
    assert api.get("/api/pipelines/demo/task").json()["queue"] == "default"
    move_pipeline("demo/task", "night")

    listed = {each["name"]: each["queue"] for each in api.get("/api/pipelines").json()["pipelines"]}

    assert (listed["demo/task"], listed["anything"]) == ("night", "default")


@pytest.mark.parametrize("name", ["demo/tusk", "demo", "a%00b", "%ED%A0%80"])
def test_a_pipeline_that_does_not_exist_is_not_found(api, name):
    assert problem_of(api.get(f"/api/pipelines/{name}")) == (404, "unknown-pipeline", [])


@pytest.mark.parametrize(("path", "queries"), [("/api/pipelines", 9), ("/api/pipelines/demo/task", 10)])
def test_pipelines_take_a_constant_number_of_queries(api, django_assert_num_queries, path, queries):
    with django_assert_num_queries(queries):
        api.get(path)


def unfinished_of(api, path="/api/pipelines/shop/order"):
    stats = api.get(path).json()["stats"]
    return {status: stats[status] for status in ("scheduled", "queued", "running", "waiting", "retrying")}


def test_a_pipeline_has_its_unfinished_tasks_by_status(api):
    pipelines.approved.enqueue("A1")
    work()
    for number in range(3):
        enqueue_order(f"A{number}")
    enqueue_order("later", run_at=datetime.now(UTC) + timedelta(days=1))

    nothing = dict.fromkeys(("scheduled", "queued", "running", "waiting", "retrying"), 0)
    assert unfinished_of(api) == {**nothing, "queued": 3, "scheduled": 1}
    assert unfinished_of(api, "/api/pipelines/approvals/wait") == {**nothing, "waiting": 1}


def test_a_pipeline_tells_how_its_last_day_was(api):
    for number in range(4):
        enqueue_order(f"A{number}")
    pipelines.broken["ship"] = 1
    work()
    roll_up_ended(duration=timedelta(seconds=10))

    day = api.get("/api/pipelines/shop/order").json()["stats"]["last_day"]

    assert (day["succeeded"], day["failed"], day["cancelled"]) == (3, 1, 0)
    assert day["p50_seconds"] == pytest.approx(10, rel=0.2)
    assert day["p95_seconds"] == pytest.approx(10, rel=0.2)


def test_the_list_tells_the_figures_of_each(api):
    enqueue_order("A1")

    listed = {pipeline["name"]: pipeline["stats"] for pipeline in api.get("/api/pipelines").json()["pipelines"]}

    assert (listed["shop/order"]["queued"], listed["anything"]["queued"]) == (1, 0)
    assert listed["anything"]["capped"] == []
    assert listed["anything"]["last_day"] == {
        "succeeded": 0, "failed": 0, "cancelled": 0, "p50_seconds": None, "p95_seconds": None,
    }  # fmt: skip
