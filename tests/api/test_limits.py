"""Concurrency limits, rate limits and queues in the API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry

from taskqueue import Limit, Rate, pipeline, step
from taskqueue.engine.enqueue.enqueue import enqueue
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimit, RateLimitBucket, Task
from taskqueue.testing import work
from tests.support.api import problem_of
from tests.support.registries import own_registry

LIMIT, RATE = "/api/concurrency-limits/api/limited", "/api/rate-limits/api-rate"
NONE = {"tasks": None, "tasks_per_key": None, "steps": None, "steps_per_key": None}


@pytest.fixture(autouse=True)
def _registered(db: None) -> Iterator[None]:
    with own_registry():

        @step(rate=Rate(10, per=timedelta(hours=1), burst=10, name="api-rate"))
        def call() -> None: ...

        @pipeline("api/rated")
        def rated() -> None:
            call()

        @pipeline("api/limited", concurrency=[Limit(2), Limit(1, key="{tenant}")])
        def limited(tenant: str) -> None: ...

        limited.enqueue("a")
        rated.enqueue()
        work()  # a worker writes the rates that it finds
        yield


def audit() -> list[tuple[str, str]]:
    return [(entry.object_repr, entry.get_change_message()) for entry in LogEntry.objects.order_by("pk")]


def test_a_concurrency_limit_is_changed_and_set_back(caller_with):
    caller = caller_with("view_concurrencylimit", "change_concurrencylimit")

    changed = caller.patch(LIMIT, {"tasks": 5, "steps": 3}).json()
    back = caller.patch(LIMIT, {"tasks": None}).json()
    caller.patch(LIMIT, {"tasks": None})

    assert changed["effective"] == {"tasks": 5, "tasks_per_key": 1, "steps": 3, "steps_per_key": None}
    assert changed["declared"] == {**NONE, "tasks": 2, "tasks_per_key": 1}
    assert (back["effective"]["tasks"], back["changed"]) == (2, {**NONE, "steps": 3})
    assert (back["key"], back["tasks_taken"], back["steps_taken"]) == ("{tenant}", 0, 0)
    assert audit() == [
        ("api/limited", "Changed tasks from the limit in code to 5, steps from the limit in code to 3."),
        ("api/limited", "Changed tasks from 5 to the limit in code."),
    ]
    listed = caller.get("/api/concurrency-limits").json()["concurrency_limits"]
    assert {each["pipeline"] for each in listed} >= {"api/limited"}


@pytest.mark.parametrize(
    ("body", "pointer"), [({"tasks": 0}, "/tasks"), ({"tasks": "3"}, "/tasks"), ({"jobs": 1}, "/jobs")]
)
def test_a_limit_that_admits_nothing_is_refused(api, body, pointer):
    assert problem_of(api.patch(LIMIT, body))[::2] == (422, [pointer])
    assert ConcurrencyLimit.objects.get(pk="api/limited").tasks is None


def test_a_rate_is_changed_and_set_back(caller_with):
    caller = caller_with("view_ratelimit", "change_ratelimit")

    changed = caller.patch(RATE, {"count": 20, "per_seconds": 60}).json()
    back = caller.patch(RATE, {"per_seconds": None}).json()

    assert changed["effective"] == {"count": 20, "per_seconds": 60.0, "burst": 10}
    assert changed["declared"] == {"count": 10, "per_seconds": 3600.0, "burst": 10}
    assert back["changed"] == {"count": 20, "per_seconds": None, "burst": None}
    assert audit() == [
        ("api-rate", "Changed count from the limit in code to 20, per from the limit in code to 60 s."),
        ("api-rate", "Changed per from 60 s to the limit in code."),
    ]
    assert "api-rate" in [rate["name"] for rate in caller.get("/api/rate-limits").json()["rate_limits"]]


def test_a_rate_that_makes_no_sense_is_refused(api):
    assert problem_of(api.patch(RATE, {"count": 1, "burst": 5, "per_seconds": 1e-9}))[0] == 422
    assert problem_of(api.patch(RATE, {"count": 0}))[::2] == (422, ["/count"])
    assert RateLimit.objects.get(pk="api-rate").changed_at is None


def test_a_blocked_rate_lets_no_step_pass_until_it_is_unblocked(caller_with):
    caller = caller_with("view_ratelimit", "change_ratelimit")

    blocked = caller.post(f"{RATE}/block", {"seconds": 90, "reason": "Maintenance"}).json()
    task = enqueue("api/rated", {})
    work()
    assert Task.objects.get(pk=task.pk).status == "waiting"
    assert blocked["usage"][0]["block_reason"] == "Maintenance"
    unblocked = caller.post(f"{RATE}/unblock", {}).json()
    assert caller.post(f"{RATE}/unblock", {}).status_code == 200
    work()

    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert unblocked["usage"][0]["blocked_until"] is None
    assert audit() == [("api-rate", "Blocked for 90 s: Maintenance"), ("api-rate", "Unblocked.")]


def test_a_block_needs_a_reason_and_no_key_of_another_rate(api):
    assert problem_of(api.post(f"{RATE}/block", {"seconds": 90, "reason": ""}))[::2] == (422, ["/reason"])
    assert problem_of(api.post(f"{RATE}/block", {"seconds": 90, "reason": "x", "key": "k"}))[::2] == (422, ["/key"])
    assert problem_of(api.post(f"{RATE}/block", {"seconds": 0, "reason": "x"}))[::2] == (422, ["/seconds"])
    assert not RateLimitBucket.objects.filter(blocked_until__isnull=False).exists()


def test_a_pipeline_moves_to_another_queue_and_back(caller_with):
    caller = caller_with("view_pipeline", "change_pipeline")
    address = "/api/pipelines/api/limited"

    assert caller.patch(address, {"queue": "mail"}).json()["queue"] == "mail"
    assert caller.patch(address, {"queue": None}).json()["queue"] == "default"
    assert problem_of(caller.patch(address, {"queue": "No Queue"}))[::2] == (422, ["/queue"])
    assert problem_of(caller.patch(address, {}))[::2] == (422, ["/queue"])
    assert problem_of(caller.patch("/api/pipelines/none", {"queue": "mail"}))[:2] == (404, "unknown-pipeline")
    assert Pipeline.objects.get(pk="api/limited").queue == ""
    assert len(audit()) == 2


@pytest.mark.parametrize(
    ("address", "body", "viewing"),
    [
        (LIMIT, {"tasks": 5}, "view_concurrencylimit"),
        (RATE, {"count": 5}, "view_ratelimit"),
        ("/api/pipelines/api/limited", {"queue": "mail"}, "view_pipeline"),
    ],
)
def test_a_viewer_changes_nothing(caller_with, anonymous, address, body, viewing):
    caller = caller_with(viewing)

    assert caller.get(address).status_code == 200
    assert problem_of(caller.patch(address, body))[:2] == (403, "not-allowed")
    assert anonymous.patch(address, body).status_code == 401
    assert LogEntry.objects.count() == 0


def test_what_does_not_exist_is_not_found(api):
    for response in (
        api.get("/api/concurrency-limits/none"),
        api.patch("/api/concurrency-limits/none", {"tasks": 1}),
        api.get("/api/rate-limits/none"),
        api.patch("/api/rate-limits/none", {"count": 1}),
        api.post("/api/rate-limits/none/block", {"seconds": 1, "reason": "x"}),
        api.post("/api/rate-limits/a%00b/unblock", {}),
    ):
        assert problem_of(response) == (404, "not-found", [])
