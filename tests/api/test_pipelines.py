"""GET /api/pipelines and GET /api/pipelines/{name}."""

from __future__ import annotations

import pytest

from tests.api.conftest import problem_of


def test_pipelines_are_listed_by_name_before_they_ever_ran(api):
    names = [pipeline["name"] for pipeline in api.get("/api/pipelines").json()["pipelines"]]

    assert names == sorted(names)
    assert {"anything", "demo/task", "shop/order"} <= set(names)


@pytest.mark.parametrize("name", ["demo/task", "demo%2Ftask"])
def test_a_pipeline_tells_what_it_takes_does_and_returns(api, name):
    body = api.get(f"/api/pipelines/{name}").json()

    assert body["name"] == "demo/task"
    assert body["payload_schema"]["required"] == ["label"]
    assert body["payload_example"]["label"] == "hello"
    assert "api_status" in body["result_schema"]["properties"]
    assert [step["name"] for step in body["steps"]] == [
        "simulate-processing", "simulate-delay", "simulate-api-call", "demonstrate-retry", "return-result",
    ]  # fmt: skip
    assert [(step["timeout"], step["atomic"]) for step in body["steps"][1:3]] == [(90, False), (30, False)]
    assert body["steps"][0]["retry_waits"] == [1, 2, 4, 8]


@pytest.mark.parametrize("name", ["demo/tusk", "demo", "a%00b", "demo/task/", "%ED%A0%80"])
def test_a_pipeline_that_does_not_exist_is_not_found(api, name):
    assert problem_of(api.get(f"/api/pipelines/{name}")) == (404, "unknown-pipeline", [])


@pytest.mark.parametrize(("path", "queries"), [("/api/pipelines", 2), ("/api/pipelines/demo/task", 3)])
def test_a_few_queries_tell_all_pipelines_or_everything_about_one(api, django_assert_num_queries, path, queries):
    with django_assert_num_queries(queries):
        api.get(path)
