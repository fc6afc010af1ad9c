"""What a caller may ask for tells no more than the caller may see."""

from __future__ import annotations

from typing import Any

import pytest

from taskqueue.models import Event, Task
from taskqueue.testing import work
from tests.support.api import BODY, enqueue_order, problem_of
from tests.support.pipelines import orders as pipelines

EVENT = {"name": "order/paid", "id": "e-1", "data": {"card": "4111"}}


@pytest.fixture
def sent(db: None) -> Event:
    return Event.objects.create(name="order/paid", external_id="e-1", unique_id="e-1", data={"card": "4111"})


@pytest.fixture
def keyed_task(db: None) -> Task:
    """A task that failed with much to tell."""
    task = enqueue_order("A1", key="k", labels={"tenant": "a"})
    pipelines.broken["ship"] = 1
    work()
    Task.objects.update(progress_note="page 4 of 10")
    return task


def body_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    assert body["duplicate"]
    return body


def test_a_duplicate_event_is_redacted_without_view_event(caller_with, sent):
    answer = caller_with("add_event").post("/api/events", EVENT)

    body = body_of(answer)
    assert (body["id"], body["external_id"]) == (str(sent.pk), "e-1")
    assert (body["name"], body["data"], body["source"]) == ("", {}, None)
    assert (body["tasks"], body["waits"], body["cancelled"], body["skips"]) == ([], [], [], [])
    assert "4111" not in answer.content.decode()


def test_a_reused_event_id_reveals_nothing(caller_with, sent):
    answer = caller_with("add_event").post("/api/events", {"name": "anything", "id": "e-1"})

    assert problem_of(answer) == (422, "key-reused", ["/id"])
    assert "4111" not in answer.content.decode()
    assert "order/paid" not in answer.content.decode()


def test_with_view_event_a_duplicate_event_is_shown_in_full(caller_with, sent):
    body = body_of(caller_with("add_event", "view_event").post("/api/events", EVENT))

    assert (body["name"], body["data"]) == ("order/paid", {"card": "4111"})


@pytest.mark.django_db(transaction=True)
def test_a_sender_sees_the_effects_of_a_new_event(caller_with):
    body = (
        caller_with("add_event").post("/api/events", {"name": "shop/order.requested", "data": {"number": "A1"}}).json()
    )

    assert (body["data"], body["tasks"][0]["pipeline"]) == ({"number": "A1"}, "shop/order")


def test_a_submitter_sees_the_status_of_a_duplicate(caller_with, keyed_task):
    body = body_of(caller_with("add_task").post("/api/tasks", {**BODY, "key": "k"}))

    assert (body["id"], body["status"], body["key"]) == (str(keyed_task.pk), "failed", "k")
    assert (body["error"], body["labels"], body["progress_note"]) == (None, {}, "")


def test_with_view_task_a_duplicate_is_shown_in_full(caller_with, keyed_task):
    body = body_of(caller_with("add_task", "view_task").post("/api/tasks", {**BODY, "key": "k"}))

    assert body["error"]["message"] == "ship is broken"
    assert (body["labels"], body["progress_note"]) == ({"tenant": "a"}, "page 4 of 10")


def test_the_key_of_another_callers_task_is_not_shown(caller_with, db):
    first = pipelines.singleton.using(key="theirs").enqueue()

    body = body_of(caller_with("add_task").post("/api/tasks", {"pipeline": "one/at-a-time", "payload": {}}))

    assert (body["id"], body["key"]) == (str(first.pk), "")


@pytest.mark.parametrize(("permissions", "number"), [(("view_pipeline",), 0), (("view_pipeline", "view_skip"), 1)])
def test_skips_of_a_pipeline_need_view_skip(caller_with, db, permissions, number):
    for _ in range(2):
        enqueue_order("A1", key="secret-key")

    body = caller_with(*permissions).get("/api/pipelines/shop/order").json()

    assert len(body["skips"]) == number
