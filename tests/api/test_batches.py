"""POST /api/tasks/batch: many tasks, or none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext

from taskqueue.models import PipelinePermission, Skip, Task
from taskqueue.testing import work
from tests.support.api import Api, enqueue_order, problem_of

BATCH = "/api/tasks/batch"


def order(number: Any, **options: Any) -> dict[str, Any]:
    return {"pipeline": "shop/order", "payload": {"number": number}, **options}


def test_a_batch_answers_in_the_order_of_the_request(api):
    response = api.post(BATCH, {"tasks": [order("A1"), {"pipeline": "anything", "payload": {"value": 2}}, order("A3")]})

    tasks = response.json()["tasks"]
    assert response.status_code == 202
    assert [task["pipeline"] for task in tasks] == ["shop/order", "anything", "shop/order"]
    assert [task["id"] for task in tasks] == sorted(task["id"] for task in tasks)
    assert {(task["status"], task["duplicate"]) for task in tasks} == {("queued", False)}
    assert [Task.objects.get(pk=task["id"]).payload for task in tasks[::2]] == [
        {"number": number, "quantity": 1, "address": None} for number in ("A1", "A3")
    ]
    assert len(work()) == 3


def test_each_task_of_a_batch_is_answered_like_a_single_one(api):
    run_at = datetime.now(UTC) + timedelta(days=1)
    asked = order("A1", key="k", priority=5, labels={"tenant": "a"}, run_at=run_at.isoformat())

    (in_batch,) = api.post(BATCH, {"tasks": [{**asked, "key": "other"}]}).json()["tasks"]

    alone = api.post("/api/tasks", asked).json()
    differs = {"id", "key", "created_at"}
    assert {name: in_batch[name] for name in alone.keys() - differs} == {
        name: alone[name] for name in alone.keys() - differs
    }


def test_a_repeated_key_in_a_batch_creates_one_task(api):
    known = enqueue_order("A1", key="known")

    tasks = api.post(BATCH, {"tasks": [order("A1", key=key) for key in ("new", "known", "new")]}).json()["tasks"]

    assert [task["duplicate"] for task in tasks] == [False, True, True]
    assert (tasks[1]["id"], tasks[2]["id"]) == (str(known.pk), tasks[0]["id"])
    assert Task.objects.count() == 2
    assert list(Skip.objects.values_list("kind", "key").order_by("pk")) == [
        ("duplicate", "known"),
        ("duplicate", "new"),
    ]


def test_a_reused_key_with_another_payload_refuses_the_batch(api):
    enqueue_order("A1", key="known")

    refused = api.post(BATCH, {"tasks": [order("A1", key="new"), order("A2", key="known"), order("A3", key="new")]})
    known = api.post(BATCH, {"tasks": [order("A1", key="new"), order("A2", key="known"), order("A1", key="new")]})

    assert problem_of(refused) == (422, "key-reused", ["/tasks/2/key"])
    assert "task 0 of the batch" in refused.json()["detail"]
    assert problem_of(known) == (422, "key-reused", ["/tasks/1/key"])
    assert Task.objects.count() == 1


def test_force_reuses_a_key_within_a_batch(api):
    forced = order("A2", key="k", force=True)

    tasks = api.post(BATCH, {"tasks": [order("A1", key="k"), forced, order("A2", key="k")]}).json()["tasks"]

    assert [task["duplicate"] for task in tasks] == [False, False, True]
    assert tasks[2]["id"] == tasks[1]["id"]


def test_a_batch_sent_again_creates_nothing(api):
    body = {"tasks": [order(f"A{number}", key=f"k{number}") for number in range(20)]}
    first = api.post(BATCH, body).json()["tasks"]

    again = api.post(BATCH, body)

    assert again.status_code == 202
    assert again.json()["tasks"] == [{**task, "duplicate": True} for task in first]
    assert Task.objects.count() == 20


def test_a_batch_creates_one_task_of_a_singleton(api):
    tasks = api.post(BATCH, {"tasks": [{"pipeline": "one/at-a-time", "payload": {}}] * 3}).json()["tasks"]

    assert [task["duplicate"] for task in tasks] == [False, True, True]
    assert len({task["id"] for task in tasks}) == 1


def test_force_creates_another_task_and_is_audited(caller_with):
    enqueue_order("A1", key="k")

    tasks = (
        caller_with("add_task").post(BATCH, {"tasks": [order("A1", key="k", force=True), order("A2")]}).json()["tasks"]
    )

    assert [task["duplicate"] for task in tasks] == [False, False]
    entries = [(entry.object_id, entry.get_change_message()) for entry in LogEntry.objects.all()]
    assert entries == [(tasks[0]["id"], "Forced, with key k.")]


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        (order(""), (422, "invalid-payload", ["/tasks/1/payload/number"])),
        ({"pipeline": "shop/ordr", "payload": {}}, (422, "unknown-pipeline", ["/tasks/1/pipeline"])),
        (order("A2", labels={"a/b": "x" * 201}), (422, "invalid-options", ["/tasks/1/labels/a~1b"])),
        (order("A2", key=""), (422, "invalid-body", ["/tasks/1/key"])),
        (order("A2", lables={}), (422, "invalid-body", ["/tasks/1/lables"])),
        ({"pipeline": "shop/order"}, (422, "invalid-body", ["/tasks/1/payload"])),
        ("text", (422, "invalid-body", ["/tasks/1"])),
        (order("a\x00b"), (422, "not-serializable", ["/tasks/1/payload/number"])),
        ({"pipeline": "anything", "payload": {"value": "x" * 600_000}}, (413, "too-large", ["/tasks/1/payload"])),
    ],
    ids=lambda value: str(value)[:60],
)
def test_one_invalid_task_refuses_the_batch(api, wrong, refusal):
    response = api.post(BATCH, {"tasks": [order("A1", key="k"), wrong, order("A3")]})

    assert problem_of(response) == refusal
    assert not Task.objects.exists()


def test_every_invalid_task_of_a_batch_has_a_pointer(api):
    response = api.post(BATCH, {"tasks": [order(""), order("A2"), {"pipeline": "no", "payload": 1}, order(5)]})

    pointers = ["/tasks/0/payload/number", "/tasks/2/pipeline", "/tasks/3/payload/number"]
    assert problem_of(response) == (422, "invalid-payload", pointers)
    assert "3 of 4 tasks were refused, so none was created." in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"tasks": []}, "/tasks"),
        ({"tasks": [order("A1")] * 1001}, "/tasks"),
        ({"tasks": order("A1")}, "/tasks"),
        ({}, "/tasks"),
        ({"tasks": [order("A1")], "key": "k"}, "/key"),
        ([order("A1")], ""),
    ],
)
def test_a_body_that_is_not_a_batch_is_refused(api, body, pointer):
    assert problem_of(api.post(BATCH, body)) == (422, "invalid-body", [pointer])
    assert not Task.objects.exists()


def test_a_batch_with_an_idempotency_key_header_is_refused(api):
    response = api.post(BATCH, {"tasks": [order("A1")]}, **{"Idempotency-Key": "k"})

    assert "Give each task of the batch a `key` of its own" in response.json()["detail"]
    assert problem_of(response) == (422, "invalid-options", [""])
    assert not Task.objects.exists()


def test_at_most_a_thousand_errors_are_answered(api):
    response = api.post(BATCH, {"tasks": [{"pipeline": "no", "payload": 1, "a": 1, "b": 2}] * 1000})

    assert len(problem_of(response)[2]) == 1000


def test_a_batch_has_its_own_size_limit(api, settings):
    settings.TASKQUEUE = {"BATCH_MAX_BYTES": 3_000_000}
    large = {"pipeline": "anything", "payload": {"value": "x" * 400_000}}

    assert api.post(BATCH, {"tasks": [large] * 7}).status_code == 202
    refused = api.post(BATCH, {"tasks": [large] * 8})
    assert problem_of(refused) == (413, "too-large", [])
    assert "BATCH_MAX_BYTES" in refused.json()["detail"]
    assert problem_of(api.post("/api/tasks", raw=b" " * 2_000_000)) == (413, "too-large", [])


def test_a_batch_of_one_may_be_as_large_as_a_task(api, settings):
    settings.TASKQUEUE = {"BATCH_MAX_BYTES": 10}

    assert api.post(BATCH, {"tasks": [order("A1")]}).status_code == 202


def test_a_batch_needs_add_task(caller_with, anonymous):
    assert anonymous.post(BATCH, {"tasks": [order("A1")]}).status_code == 401
    assert problem_of(caller_with("view_task").post(BATCH, {"tasks": [order("A1")]})) == (403, "not-allowed", [])


def test_a_pipeline_without_permission_refuses_the_batch(caller_with):
    PipelinePermission.objects.create(pipeline_id="anything", group=Group.objects.create(name="others"), run=True)
    closed = {"pipeline": "anything", "payload": {"value": 1}}
    caller = caller_with("add_task")

    refused = caller.post(BATCH, {"tasks": [order("A1"), closed, order(""), closed]})

    assert problem_of(refused) == (403, "not-permitted", ["/tasks/1", "/tasks/3"])
    assert not Task.objects.exists()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert caller.post(BATCH, {"tasks": [order("A1")] * 5}).status_code == 202
    assert sum("pipelinepermission" in query["sql"] for query in queries) == 1


def test_duplicates_in_a_batch_are_redacted_without_view_task(caller_with):
    enqueue_order("A1", key="k", labels={"tenant": "a"})

    (task,) = caller_with("add_task").post(BATCH, {"tasks": [order("A1", key="k")]}).json()["tasks"]

    assert (task["duplicate"], task["labels"], task["key"]) == (True, {}, "k")


@pytest.mark.django_db(transaction=True)
def test_a_thousand_tasks_take_one_transaction_and_one_notification(settings):
    settings.DEBUG = True
    body = {"tasks": [order(f"A{number}", key=f"k{number}", labels={"n": "x"}) for number in range(1000)]}
    api = Api(SERVER_NAME="localhost")

    with CaptureQueriesContext(connection) as queries:
        response = api.post(BATCH, body)

    assert len(response.json()["tasks"]) == 1000
    said = [query["sql"] for query in queries]
    assert (said.count("BEGIN"), said.count("COMMIT")) == (1, 1)
    assert sum("pg_notify" in statement for statement in said) == 1
    assert len(said) == 5, "begin, keys, tasks, commit, notification"
