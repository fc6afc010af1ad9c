"""POST /api/tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskqueue.models import Task
from taskqueue.states import TaskStatus
from taskqueue.testing import advance, work
from tests.support.api import problem_of

ORDER = {"pipeline": "shop/order", "payload": {"number": "A1"}}


def test_a_task_is_accepted_with_its_location(api):
    response = api.post("/api/tasks", ORDER)

    body = response.json()
    assert response.status_code == 202
    assert response["Location"] == f"/api/tasks/{body['id']}"
    assert (body["pipeline"], body["status"], body["duplicate"]) == ("shop/order", "queued", False)
    assert api.get(response["Location"]).json()["payload"] == {"number": "A1", "quantity": 1, "address": None}


def test_an_accepted_task_is_executed(api):
    address = api.post("/api/tasks", ORDER)["Location"]

    work()

    body = api.get(address).json()
    assert (body["status"], body["result"]) == ("succeeded", {"charge": "charged A1", "ship": "shipped A1"})


def test_all_options_are_stored(api):
    run_at = datetime.now(UTC) + timedelta(days=1)
    options = {"key": "order-42", "priority": 120, "run_at": run_at.isoformat(), "labels": {"tenant": "a"}}

    body = api.post("/api/tasks", {**ORDER, **options}).json()

    assert (body["key"], body["priority"], body["labels"]) == ("order-42", 120, {"tenant": "a"})
    assert (body["status"], datetime.fromisoformat(body["next_run_at"])) == ("scheduled", run_at)


def test_a_whole_number_may_be_written_with_a_fraction(api):
    assert api.post("/api/tasks", {**ORDER, "priority": 5.0}).json()["priority"] == 5


def test_the_same_key_finds_the_same_task(api):
    first = api.post("/api/tasks", {**ORDER, "key": "order-42"})

    second = api.post("/api/tasks", {**ORDER, "key": "order-42"})

    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json() == {**first.json(), "duplicate": True}
    assert second["Location"] == first["Location"]
    assert Task.objects.count() == 1


def test_after_its_window_a_key_creates_a_new_task(api):
    first = api.post("/api/tasks", {**ORDER, "key": "order-42"})
    advance(hours=25)

    second = api.post("/api/tasks", {**ORDER, "key": "order-42"})

    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


def test_force_creates_a_new_task_for_a_used_key(api):
    first = api.post("/api/tasks", {**ORDER, "key": "order-42"})

    second = api.post("/api/tasks", {**ORDER, "key": "order-42", "force": True})
    third = api.post("/api/tasks", {**ORDER, "key": "order-42"})

    assert second.status_code == 202
    assert first.json()["id"] != second.json()["id"] == third.json()["id"]


def test_the_idempotency_key_header_works_like_key(api):
    first = api.post("/api/tasks", ORDER, **{"Idempotency-Key": "order-42"})

    second = api.post("/api/tasks", {**ORDER, "key": "order-42"}, **{"Idempotency-Key": "order-42"})

    assert first.json()["key"] == "order-42"
    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])


@pytest.mark.parametrize(
    ("header", "key"), [('"order-42"', "order-42"), (r'"a\"b\\c"', r'a"b\c'), ('in"side"', 'in"side"')]
)
def test_a_quoted_header_is_unquoted(api, header, key):
    assert api.post("/api/tasks", ORDER, **{"Idempotency-Key": header}).json()["key"] == key


def test_a_key_with_another_payload_is_refused_without_force(api):
    first = api.post("/api/tasks", {**ORDER, "key": "k"}).json()
    other = {**ORDER, "payload": {"number": "A1", "quantity": 7}, "key": "k"}

    refused = api.post("/api/tasks", other)

    assert problem_of(refused) == (422, "key-reused", ["/key"])
    assert first["id"] in refused.json()["detail"]
    assert api.post("/api/tasks", {**other, "force": True}).status_code == 202


@pytest.mark.parametrize("header", ["another", "", "grün", "tab\there", "x" * 201, '"', '"open', '""', '"a"b', r'"\n"'])
def test_an_invalid_or_contradicting_key_header_is_refused(api, header):
    body = {**ORDER, "key": "order-42"} if header == "another" else ORDER

    response = api.post("/api/tasks", body, **{"Idempotency-Key": header})

    assert problem_of(response) == (422, "invalid-options", ["/key"])
    assert not Task.objects.exists()


def test_an_unknown_pipeline_is_refused_with_the_known_ones(api):
    response = api.post("/api/tasks", {"pipeline": "shop/ordr", "payload": {}})

    assert problem_of(response) == (422, "unknown-pipeline", ["/pipeline"])
    assert "shop/order" in response.json()["detail"]


def test_each_error_of_a_payload_has_a_pointer(api):
    payload = {"number": "", "quantity": 0, "address": {"street": 5}, "a/b~c": 1}

    response = api.post("/api/tasks", {"pipeline": "shop/order", "payload": payload})

    status, code, pointers = problem_of(response)
    assert (status, code) == (422, "invalid-payload")
    assert set(pointers) == {"/payload/number", "/payload/quantity", "/payload/address/street", "/payload/a~1b~0c"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"pipeline": None}, "/pipeline"),
        ({"pipeline": "x" * 201}, "/pipeline"),
        ({"key": ""}, "/key"),
        ({"key": "x" * 201}, "/key"),
        ({"force": "yes"}, "/force"),
        ({"priority": 601}, "/priority"),
        ({"priority": "5"}, "/priority"),
        ({"priority": True}, "/priority"),
        ({"priority": 10**400}, "/priority"),
        ({"run_at": 1735689600}, "/run_at"),
        ({"run_at": "2030-01-31"}, "/run_at"),
        ({"run_at": "2030-01-31T08:00:00"}, "/run_at"),
        ({"run_at": "2030-02-31T08:00:00Z"}, "/run_at"),
        ({"run_at": "9999-12-31T23:59:59Z"}, "/run_at"),
        ({"labels": {"tenant": 1}}, "/labels/tenant"),
        ({"labels": {str(number): "x" for number in range(21)}}, "/labels"),
        ({"lables": {}}, "/lables"),
    ],
)
def test_an_error_outside_the_payload_has_a_pointer(api, change, pointer):
    response = api.post("/api/tasks", {**ORDER, **change})

    assert problem_of(response) == (422, "invalid-body", [pointer])
    assert not Task.objects.exists()


def test_a_label_that_is_too_long_has_a_pointer(api):
    response = api.post("/api/tasks", {**ORDER, "labels": {"tenant": "x" * 201}})

    assert problem_of(response) == (422, "invalid-options", ["/labels/tenant"])


@pytest.mark.parametrize("body", [[], "text", 5, None, {}])
def test_a_body_that_is_not_a_submission_is_refused(api, body):
    response = api.post("/api/tasks", raw=b"null" if body is None else None, body=body)

    status, code, pointers = problem_of(response)
    assert (status, code) == (422, "invalid-body")
    assert pointers == (["/pipeline", "/payload"] if body == {} else [""])


def test_a_payload_over_its_limit_is_refused_with_both_sizes(api, settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 1000}

    response = api.post("/api/tasks", {"pipeline": "anything", "payload": {"value": "x" * 1000}})

    assert problem_of(response) == (413, "too-large", ["/payload"])
    assert "PAYLOAD_MAX_BYTES" in response.json()["detail"]


def test_a_payload_at_its_limit_may_be_written_with_escapes(api, settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 200_000}
    value = "\N{PILE OF POO}" * 49_000

    response = api.post("/api/tasks", {"pipeline": "anything", "payload": {"value": value}})

    assert response.status_code == 202
    assert Task.objects.get().payload == {"value": value}


def test_one_statement_creates_a_task(api, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert api.post("/api/tasks", {**ORDER, "key": "order-42"}).status_code == 202


def test_a_time_in_the_past_means_now(api):
    response = api.post("/api/tasks", {**ORDER, "run_at": "1970-01-01T00:00:00+14:00"})

    assert response.json()["status"] == TaskStatus.QUEUED
