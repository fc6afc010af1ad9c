"""What a caller may ask for tells no more than the caller may see."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.models import Event, Task
from taskqueue.testing import work
from tests.support.api import BODY, enqueue_order, problem_of
from tests.support.pipelines import orders as pipelines

AGAIN = {"name": "order/paid", "id": "e-1", "data": {"card": "4111"}}


@pytest.fixture
def sent(db: None) -> Event:
    return Event.objects.create(name="order/paid", external_id="e-1", unique_id="e-1", data={"card": "4111"})


@pytest.fixture
def told_of(db: None) -> Task:
    """A task that failed with much to tell."""
    task = enqueue_order("A1", key="k", labels={"tenant": "a"})
    pipelines.broken["ship"] = 1
    work()
    Task.objects.update(progress_note="page 4 of 10")
    return task


def told(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    assert body["duplicate"]
    return body


def test_who_may_only_send_learns_of_a_known_id_that_it_is_known(caller_with, sent):
    answer = caller_with("add_event").post("/api/events", AGAIN)

    body = told(answer)
    assert (body["id"], body["external_id"]) == (str(sent.pk), "e-1")
    assert (body["name"], body["data"], body["source"]) == ("", {}, None)
    assert (body["tasks"], body["waits"], body["cancelled"], body["skips"]) == ([], [], [], [])
    assert "4111" not in answer.content.decode()


def test_a_guess_at_a_known_id_is_not_answered_with_what_it_said(caller_with, sent):
    answer = caller_with("add_event").post("/api/events", {"name": "anything", "id": "e-1"})

    assert problem_of(answer) == (422, "key-reused", ["/id"])
    assert "4111" not in answer.content.decode()
    assert "order/paid" not in answer.content.decode()


def test_who_may_see_events_learns_all_of_a_known_one(caller_with, sent):
    body = told(caller_with("add_event", "view_event").post("/api/events", AGAIN))

    assert (body["name"], body["data"]) == ("order/paid", {"card": "4111"})


@pytest.mark.django_db(transaction=True)
def test_who_may_only_send_learns_what_came_of_an_event_of_their_own(caller_with):
    body = (
        caller_with("add_event").post("/api/events", {"name": "shop/order.requested", "data": {"number": "A1"}}).json()
    )

    assert (body["data"], body["tasks"][0]["pipeline"]) == ({"number": "A1"}, "shop/order")


def test_who_may_only_submit_learns_of_a_known_key_where_its_task_stands(caller_with, told_of):
    body = told(caller_with("add_task").post("/api/tasks", {**BODY, "key": "k"}))

    assert (body["id"], body["status"], body["key"]) == (str(told_of.pk), "failed", "k")
    assert (body["error"], body["labels"], body["progress_note"]) == (None, {}, "")


def test_who_may_see_tasks_learns_all_of_one_with_a_known_key(caller_with, told_of):
    body = told(caller_with("add_task", "view_task").post("/api/tasks", {**BODY, "key": "k"}))

    assert body["error"]["message"] == "ship is broken"
    assert (body["labels"], body["progress_note"]) == ({"tenant": "a"}, "page 4 of 10")


def test_the_key_of_somebody_elses_task_is_not_told(caller_with, db):
    first = pipelines.alone.using(key="theirs").enqueue()

    body = told(caller_with("add_task").post("/api/tasks", {"pipeline": "one/at-a-time", "payload": {}}))

    assert (body["id"], body["key"]) == (str(first.pk), "")


@pytest.mark.parametrize(("permissions", "number"), [(("view_pipeline",), 0), (("view_pipeline", "view_skip"), 1)])
def test_skipped_requests_of_a_pipeline_are_for_those_who_may_see_them(caller_with, db, permissions, number):
    for _ in range(2):
        enqueue_order("A1", key="secret-key")

    body = caller_with(*permissions).get("/api/pipelines/shop/order").json()

    assert len(body["skips"]) == number
