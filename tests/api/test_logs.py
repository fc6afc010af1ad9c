"""Log lines name their task, step, attempt and request; each request has a line that names its tasks."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient

from taskqueue import Retry, pipeline, step
from taskqueue.engine.actions import tokens
from taskqueue.logs import JsonFormatter, TaskFields
from taskqueue.models import Task
from taskqueue.testing import advance, work
from tests.support.api import BODY, Api

pytestmark = pytest.mark.django_db(transaction=True)
logger = logging.getLogger("shop.logged")
SOON = Retry.fixed(timedelta(seconds=10), retries=1)


@step(retry=SOON)
def pack(number: int) -> int:
    error = ConnectionError("torn")
    logger.error("packing %s", number, extra={"box": 7}, exc_info=error)
    raise error


@pipeline("logs/named")
def packing(number: int) -> int:
    logger.info("before the step")
    return pack(number)


@pytest.fixture
def handler() -> Iterator[logging.StreamHandler[io.StringIO]]:
    """A handler of the root logger that writes JSON to a buffer."""
    found = logging.StreamHandler(io.StringIO())
    found.setFormatter(JsonFormatter())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(found)
    root.setLevel(logging.INFO)
    logging.getLogger("taskqueue.requests").setLevel(logging.INFO)
    yield found
    root.removeHandler(found)
    root.setLevel(level)


def lines(handler: logging.StreamHandler[io.StringIO], name: str = "taskqueue.requests") -> list[dict[str, Any]]:
    """The lines of one logger."""
    return [line for text in handler.stream.getvalue().splitlines() if (line := json.loads(text))["logger"] == name]


def test_a_line_names_its_task_step_and_attempt(handler):
    task = packing.enqueue(7)
    work()
    advance(minutes=1)
    work()

    found = lines(handler, "shop.logged")
    assert {(line["task"], line["pipeline"]) for line in found} == {(str(task.pk), "logs/named")}
    assert [(line["message"], line.get("step"), line["attempt"]) for line in found] == [
        ("before the step", None, 1),
        ("packing 7", "pack", 1),
        ("before the step", None, 1),
        ("packing 7", "pack", 2),
    ]
    assert found[1]["box"] == 7
    assert found[1]["exception"].endswith("ConnectionError: torn")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00", found[0]["time"])


def test_any_formatter_can_show_the_fields(handler):
    handler.addFilter(TaskFields())
    handler.setFormatter(logging.Formatter("{task} {step} {attempt} {message}", style="{"))
    logger.info("outside")
    task = packing.enqueue(7)
    work()

    found = handler.stream.getvalue().splitlines()
    assert "   outside" in found
    assert f"{task.pk} pack 1 packing 7" in found


def test_a_request_has_a_line_with_its_status_duration_and_token(handler):
    robot = User.objects.create_user("robot")
    robot.user_permissions.set(Permission.objects.filter(codename="add_task"))
    secret = tokens.issue(robot, name="nightly")[1]

    caller = Api(HTTP_AUTHORIZATION=f"Bearer {secret}", HTTP_X_REQUEST_ID="edge-1/abc")
    response = caller.post("/api/tasks", BODY)

    (line,) = lines(handler)
    assert response["X-Request-ID"] == line["request_id"] == "edge-1/abc"
    assert (line["method"], line["path"], line["status"], line["token"]) == ("POST", "/api/tasks", 202, "nightly")
    assert 0 < line["duration_ms"] < 60_000
    assert line["tasks"] == [response.json()["id"]]
    assert secret not in handler.stream.getvalue()


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a\x1b[2J"])
def test_a_request_without_a_valid_id_gets_a_new_one(api, given):
    made = [api.client.get("/api/health/live", headers=headers) for headers in ({}, {"X-Request-ID": given})]

    assert {UUID(response["X-Request-ID"]).version for response in made} == {7}


def test_the_line_of_a_refused_request_names_the_error(handler, api):
    api.post("/api/tasks", {"pipeline": "no/such", "payload": {}})

    assert [(line["status"], line["error"]) for line in lines(handler)] == [(422, "unknown-pipeline")]
    (warning,) = lines(handler, "django.request")
    assert warning["request_id"] == lines(handler)[0]["request_id"]


def test_each_task_of_a_batch_is_named(handler, api):
    response = api.post("/api/tasks/batch", {"tasks": [BODY] * 250})

    named = [task for line in lines(handler) for task in line["tasks"]]
    assert named == [task["id"] for task in response.json()["tasks"]]
    assert {line["request_id"] for line in lines(handler)} == {response["X-Request-ID"]}


def test_the_line_of_a_duplicate_names_the_existing_task(handler, api):
    first, second = (api.post("/api/tasks", {**BODY, "key": "K"}) for _ in range(2))

    assert second.json()["duplicate"]
    assert [line["tasks"] for line in lines(handler)] == [[first.json()["id"]]] * 2


def test_the_line_of_an_event_names_the_tasks_that_it_starts(handler, api):
    assert api.post("/api/events", {"name": "demo/task.requested", "data": {}}).status_code == 202

    assert lines(handler)[0]["tasks"] == [str(Task.objects.get().pk)]


def test_probes_are_logged_only_when_they_fail(handler, api, settings):
    for path in ("/api/health/live", "/api/health/ready", "/metrics"):
        assert api.get(path).status_code == 200
    assert lines(handler) == []

    settings.DEBUG = False
    api.get("/metrics")

    assert [(line["path"], line["status"]) for line in lines(handler)] == [("/metrics", 401)]


def test_a_path_cannot_write_a_line_of_its_own(handler, api):
    handler.setFormatter(logging.Formatter("{message}", style="{"))
    api.get("/api/%0AFAKE")

    assert "FAKE" not in handler.stream.getvalue().splitlines()


def test_the_query_is_not_logged(handler, api):
    api.get("/api/tasks", payload="card:4111")

    assert "4111" not in handler.stream.getvalue()


def test_under_asgi_a_request_has_a_line_too(handler, settings):
    settings.DEBUG = True

    response = asyncio.run(AsyncClient(SERVER_NAME="localhost").get("/api/no-such", headers={"X-Request-ID": "r1"}))

    assert response["X-Request-ID"] == "r1"
    assert [(line["request_id"], line["status"], line["error"]) for line in lines(handler)] == [
        ("r1", 404, "not-found")
    ]


def test_a_failed_step_outside_of_a_request_has_no_request_id(handler):
    packing.enqueue(1)
    work()

    assert all("request_id" not in line for line in lines(handler, "shop.logged"))


def test_the_token_of_an_answer_link_is_not_logged(handler):
    Api().get("/api/answer/abc:def")

    (line,) = lines(handler)
    assert (line["path"], line["status"]) == ("/api/answer/*", 404)
    assert "abc" not in line["message"]
