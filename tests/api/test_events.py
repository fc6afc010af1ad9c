"""POST /api/events, GET /api/events and GET /api/events/{id}."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from taskqueue.models import Event, Task
from taskqueue.testing import work
from tests.support.api import problem_of
from tests.support.pipelines import orders as pipelines


@pytest.mark.django_db(transaction=True)
def test_a_sent_event_lists_started_and_skipped_pipelines(settings):
    from tests.support.api import Api

    settings.DEBUG = True
    api = Api(SERVER_NAME="localhost")
    answer = api.post("/api/events", {"name": "shop/order.requested", "data": {"number": "A-1"}})

    assert answer.status_code == 202
    task = Task.objects.get()
    assert answer.json()["tasks"] == [{"id": str(task.pk), "pipeline": "shop/order"}]
    assert answer.json()["routed_at"] is not None
    refused = api.post("/api/events", {"name": "shop/order.requested", "data": {"number": 7}}).json()
    assert (refused["tasks"], refused["skips"][0]["kind"]) == ([], "invalid")
    assert api.get(f"/api/tasks/{task.pk}").json()["event"] == answer.json()["id"]


def test_the_same_id_is_the_same_event(api):
    first = api.post("/api/events", {"name": "a", "id": "e-1", "data": {"n": 1}})
    again = api.post("/api/events", {"name": "a", "id": "e-1", "data": {"n": 1}})

    assert (first.status_code, again.status_code) == (202, 200)
    assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
    assert again.json()["id"] == first.json()["id"]
    assert Event.objects.count() == 1


@pytest.mark.parametrize("other", [{"name": "b", "data": {"n": 1}}, {"name": "a", "data": {"n": 2}}])
def test_an_id_with_other_content_is_refused(api, other):
    api.post("/api/events", {"name": "a", "id": "e-1", "data": {"n": 1}})

    assert problem_of(api.post("/api/events", {**other, "id": "e-1"})) == (422, "key-reused", ["/id"])
    assert Event.objects.count() == 1


@pytest.mark.parametrize("header", ["e-1", '"e-1"'])
def test_the_idempotency_key_of_an_event_is_its_id(api, header):
    first = api.post("/api/events", {"name": "a"}, **{"Idempotency-Key": header})

    assert api.post("/api/events", {"name": "a", "id": "e-1"}).json()["id"] == first.json()["id"]
    refused = api.post("/api/events", {"name": "a", "id": "e-2"}, **{"Idempotency-Key": header})
    assert problem_of(refused) == (422, "invalid-options", ["/id"])


def test_events_are_listed_newest_first_by_name_and_page(api):
    for number in range(5):
        api.post("/api/events", {"name": "a", "data": {"n": number}})
        api.post("/api/events", {"name": "b"})

    page = api.get("/api/events", name="a", limit=3).json()
    assert [event["data"]["n"] for event in page["events"]] == [4, 3, 2]
    rest = api.get("/api/events", name="a", limit=3, cursor=page["next_cursor"]).json()
    assert [event["data"]["n"] for event in rest["events"]] == [1, 0]
    assert rest["next_cursor"] is None


def test_an_event_is_shown_and_a_missing_one_is_not_found(api):
    event = api.post("/api/events", {"name": "a", "data": {"n": 1}}).json()

    found = api.get(f"/api/events/{event['id']}").json()
    assert (found["name"], found["data"], found["tasks"], found["waits"]) == ("a", {"n": 1}, [], [])
    assert problem_of(api.get(f"/api/events/{uuid4()}")) == (404, "event-not-found", [])


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "invalid-body", "/name"),
        ({"name": "a b"}, "invalid-event", "/name"),
        ({"name": "a", "data": [1]}, "invalid-body", "/data"),
        ({"name": "a", "when": 1}, "invalid-body", "/when"),
        ({"name": "a", "id": ""}, "invalid-body", "/id"),
        ({"name": "a", "id": "\0"}, "not-serializable", "/id"),
        ({"name": "a", "data": {"text": "\ud800"}}, "not-serializable", "/data/text"),
    ],
)
def test_an_invalid_event_is_refused_with_a_pointer(api, body, code, pointer):
    assert problem_of(api.post("/api/events", body)) == (422, code, [pointer])
    assert Event.objects.count() == 0


def test_an_event_lists_resolved_waits_and_cancelled_tasks(api):
    from taskqueue.engine.events.route import route

    waiting, doomed = pipelines.approved.enqueue("A1"), pipelines.approved.enqueue("A2")
    work()
    approval = api.post("/api/events", {"name": "order/approved", "data": {"number": "A1"}})
    withdrawal = api.post("/api/events", {"name": "order/withdrawn", "data": {"number": "A2"}})
    for answer in (approval, withdrawal):
        route(UUID(answer.json()["id"]))

    approved, withdrawn = (api.get(answer["Location"]).json() for answer in (approval, withdrawal))

    assert approved["waits"] == [{"task": str(waiting.pk), "step": "order/approved"}]
    assert (withdrawn["waits"], withdrawn["cancelled"]) == ([], [str(doomed.pk)])


def test_events_are_filtered_by_time(api):
    sent = [api.post("/api/events", {"name": "a", "data": {"n": number}}).json() for number in range(5)]

    after = api.get("/api/events", received_after=sent[2]["received_at"]).json()["events"]
    before = api.get("/api/events", received_before=sent[2]["received_at"]).json()["events"]

    assert [event["data"]["n"] for event in after] == [4, 3]
    assert [event["data"]["n"] for event in before] == [1, 0]


@pytest.mark.parametrize("query", ["nmae=a", "name=", "received_after=yesterday", "cursor=abc", "limit=0"])
def test_an_invalid_query_has_a_pointer(api, query):
    assert problem_of(api.get(f"/api/events?{query}")) == (400, "invalid-query", ["/" + query.partition("=")[0]])


def test_event_data_over_the_limit_is_refused(api):
    response = api.post("/api/events", {"name": "a", "data": {"text": "x" * 600_000}})

    assert problem_of(response) == (413, "too-large", ["/data"])
    assert Event.objects.count() == 0


def test_sending_needs_add_event(caller_with):
    caller = caller_with("view_event")

    assert caller.post("/api/events", {"name": "a"}).status_code == 403
    assert caller.get("/api/events").status_code == 200


def test_a_task_lists_its_waits(api):
    task = pipelines.limited.enqueue(1)
    work()

    (wait,) = api.get(f"/api/tasks/{task.pk}").json()["waits"]
    assert wait["step"] == wait["event"] == "gated/go"
    assert (wait["match"], wait["outcome"]) == ({"number": 1}, "")
